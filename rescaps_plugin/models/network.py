"""What capsule networks have in common as timm models."""

import torch
from timm.models._features import feature_take_indices
from torch import Tensor, nn


class CapsuleNetwork(nn.Module):
    """A network of feature levels, each of which reads the one before it.

    Subclasses set ``feature_info`` and implement ``levels``.
    """

    @torch.jit.ignore
    def levels(self) -> list[nn.Module]:
        """The modules behind ``feature_info``: each reads the one before it."""
        raise NotImplementedError

    @torch.jit.ignore
    def run_block(self, block: nn.Module, x: Tensor) -> Tensor:
        """Run a level behind the first."""
        return block(x)

    @torch.jit.ignore
    def like_network(self, part: nn.Module) -> nn.Module:
        """Move a part that was built for the network to its device, dtype and mode, and return it."""
        return part.to(next(self.parameters())).train(self.training)

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute blocks or capsule layers in the backward pass, for less memory."""
        self.grad_checkpointing = enable

    @torch.jit.ignore
    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = 'NCHW',
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Give the outputs of the feature levels.

        Args:
            x: Images ``[b, in_chans, h, w]``.
            indices: Levels of ``feature_info``: the last ``n`` for an int, all for None.
            norm: Without effect; there is no last normalisation.
            stop_early: Whether to stop at the last level asked for.
            output_fmt: ``'NCHW'``.
            intermediates_only: Whether to leave the final features out.
        """
        if output_fmt != 'NCHW':
            raise ValueError(f"output_fmt must be 'NCHW', got {output_fmt!r}")
        levels = self.levels()
        take_indices, max_index = feature_take_indices(len(levels), indices)
        intermediates = []
        for index, level in enumerate(levels[: max_index + 1] if stop_early else levels):
            x = self.run_block(level, x) if index > 0 else level(x)
            if index in take_indices:
                intermediates.append(x)
        return intermediates if intermediates_only else (x, intermediates)
