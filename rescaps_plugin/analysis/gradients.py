"""Gradients at every block of a network during training."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn


class PoseGradientHook(Hook):
    """Record the gradient of the loss with respect to the poses that capsule layers or blocks return, in training.

    Args:
        layers: Names of the layers in the model, with the channels of the poses in their capsule maps, which come
            first.

    Attributes:
        norms: For every iteration the norms of the batch's gradient, one a layer.
        losses: For every iteration the loss.
    """

    def __init__(self, layers: dict[str, int]) -> None:
        self.layers = layers
        self.norms: list[list[float]] = []
        self.losses: list[float] = []
        self._maps: dict[str, Tensor] = {}

    def before_train(self, runner: Runner) -> None:
        """Register hooks on the layers' outputs."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        for name in self.layers:
            model.get_submodule(name).register_forward_hook(lambda *call, name=name: self._keep(name, *call))

    def _keep(self, name: str, module: nn.Module, args: tuple, output: Tensor) -> None:
        if output.requires_grad:
            output.retain_grad()
            self._maps[name] = output

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Tensor] | None = None
    ) -> None:
        """Read the gradients that the backward pass left."""
        gradients = {name: kept.grad[:, : self.layers[name]] for name, kept in self._maps.items()}
        self.norms.append([gradients[name].norm().item() for name in self.layers])
        self.losses.append(outputs['loss'].item())
        self._maps.clear()
