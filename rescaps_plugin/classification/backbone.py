"""ResCaps as an OpenMMLab backbone, registered in mmengine's root registry."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.models import ResCapsTrunk


@MODELS.register_module()
class ResCaps(ResCapsTrunk, BaseModule):
    """ResCaps backbone: the trunk of the timm models, as heads and necks of OpenMMLab take it.

    Args:
        in_channels: Channels of the image. Defaults to 3.
        out_indices: Blocks whose capsule maps are given, counted from 0 (stride 2 with the paper's stem); negative ones
            count from the last. Defaults to (-1,).
        frozen_stages: Stages that keep their weights and statistics: 0 freezes the stem, ``k`` the stem and ``k``
            blocks, -1 nothing. Defaults to -1.
        with_cp: Whether to recompute blocks in the backward pass, for less memory. Defaults to False.
        norm_eval: Whether batch normalisations keep their statistics in training. Defaults to False.
        deploy: Whether to build the deploy form, which deploy checkpoints load into. Defaults to False.
        init_cfg: mmengine's initialisation. Defaults to None.
        **trunk: Arguments of :class:`~rescaps_plugin.models.ResCapsTrunk`: ``capsule_types``, ``num_layers``,
            ``routing``, ``residual``, ...

    Shape:
        - input: ``[b, in_channels, h, w]``
        - output: a tuple of capsule maps ``[b, types * (p * p + 1), h', w']``, whose channels are ``out_channels``
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_indices: Sequence[int] = (-1,),
        frozen_stages: int = -1,
        with_cp: bool = False,
        norm_eval: bool = False,
        deploy: bool = False,
        init_cfg: dict | list[dict] | None = None,
        **trunk,
    ) -> None:
        super().__init__(in_channels, **trunk)
        self.init_cfg = init_cfg
        self.in_channels = in_channels
        blocks = len(self.blocks)
        if not out_indices or not all(-blocks <= index < blocks for index in out_indices):
            raise ValueError(f'out_indices must be blocks from {-blocks} to {blocks - 1}, got {out_indices!r}')
        if not -1 <= frozen_stages <= blocks:
            raise ValueError(f'frozen_stages must be from -1 to {blocks}, got {frozen_stages!r}')
        self.out_indices = sorted({index % blocks for index in out_indices})
        self.out_channels = [self.blocks[index].out_channels for index in self.out_indices]
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.set_grad_checkpointing(with_cp)
        for stage in self._frozen():
            stage.requires_grad_(False)
        if deploy:
            self.switch_to_deploy()

    def _frozen(self) -> list[nn.Module]:
        return [self.stem, *self.blocks][: self.frozen_stages + 1]

    def switch_to_deploy(self) -> None:
        """Turn every layer into its deploy form, in place."""
        self.fuse()

    def train(self, mode: bool = True) -> nn.Module:
        """Set training mode, of everything that is not frozen."""
        super().train(mode)
        if mode:
            for stage in self._frozen():
                stage.eval()
            if self.norm_eval:
                for module in self.modules():
                    if isinstance(module, _BatchNorm):
                        module.eval()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        if x.shape[1] != self.in_channels:
            raise UserError(
                f'model.backbone.in_channels={self.in_channels}, and the images have {x.shape[1]} channels: set '
                f'model.backbone.in_channels={x.shape[1]}, or convert them in the pipeline.'
            )
        x = self.stem(x)
        outs = []
        for index, block in enumerate(self.blocks):
            x = self.run_block(block, x)
            if index in self.out_indices:
                outs.append(x)
        return tuple(outs)
