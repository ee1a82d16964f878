"""Checks of the inputs of losses."""

import torch
from torch import Tensor

# Rounding of activations in half precision, and of sums of probabilities.
TOLERANCE = 0.01


def check_activations(loss: str, activation: Tensor) -> None:
    """Raise unless class activations are in [0, 1]; NaN passes, so that the loss becomes NaN.

    On a GPU the check does not synchronise: it fails as a device-side assertion, whose message lacks the range.

    Args:
        loss: Name of the loss, for the message.
        activation: Class activations of any shape.

    Raises:
        ValueError: If an activation is outside [0, 1].
    """
    if activation.device.type not in ('cpu', 'cuda'):  # other devices may lack the operator
        return
    # Comparisons with NaN are false.
    inside = ((activation.detach() - 0.5).abs() > 0.5 + TOLERANCE).any().logical_not()
    message = (
        f"{loss} takes class activations in [0, 1]: build the network with output='activation', or pass logits through "
        'a sigmoid (use_sigmoid=True in a config)'
    )
    try:
        torch._assert_async(inside, message)
    except RuntimeError as error:
        low, high = activation.min().item(), activation.max().item()
        raise ValueError(f'{message}; got values from {low:.4g} to {high:.4g}') from error
