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
        out_indices: Blocks whose maps are returned, counted from 0 (stride 2 with the paper's stem); negative ones
            count from the last. Defaults to (-1,).
        frozen_stages: Stages that keep their weights and statistics: 0 freezes the stem, ``k`` the stem and ``k``
            blocks, -1 nothing. Defaults to -1.
        with_cp: Whether to recompute blocks in the backward pass, for less memory. Defaults to False.
        norm_eval: Whether batch normalisations keep their statistics in training. Defaults to False.
        deploy: Whether to build the deploy form, which deploy checkpoints load into. Defaults to False.
        init_cfg: mmengine's initialisation. Defaults to None.
        capsule_types: Capsule types of each block. Defaults to (32, 32, 16, 16).
        num_layers: ResP layers in a block. Defaults to 2.
        pose_size: Side of the pose matrices. Defaults to 4.
        kernel_size: Window of the ResP layers, odd. Defaults to 3.
        stem: ``'conv5'`` (the paper) or ``'conv7_pool'``, which divides height and width by 4. Defaults to ``'conv5'``.
        stem_channels: Channels of the stem. Defaults to 32.
        routing: ``'window'`` or ``'pointwise'``, see :class:`~rescaps_plugin.layers.ResidualPoseRouting`. Defaults to
            ``'window'``.
        residual: ``'identity'``, ``'ones'`` or ``'none'``, see there. Defaults to ``'identity'``.
        transform_std: Standard deviation that pose transforms start with. Defaults to 0.1.
        strides: Stride of each block's primary capsules; None: 2, which halves height and width. Defaults to None.

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
        capsule_types: Sequence[int] = (32, 32, 16, 16),
        num_layers: int = 2,
        pose_size: int = 4,
        kernel_size: int = 3,
        stem: str = 'conv5',
        stem_channels: int = 32,
        routing: str = 'window',
        residual: str = 'identity',
        transform_std: float = 0.1,
        strides: Sequence[int] | None = None,
    ) -> None:
        super().__init__(
            in_channels,
            capsule_types,
            num_layers,
            pose_size,
            kernel_size,
            stem,
            stem_channels,
            routing,
            residual,
            transform_std,
            strides,
        )
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
        # Of maps that are not returned, the blocks compute in evaluation what the next one reads.
        if self.out_indices == [len(self.blocks) - 1]:
            return (self.forward_features(x),)
        x = self.stem(x)
        outs = []
        for index, block in enumerate(self.blocks):
            x = self.run_block(block, x)
            if index in self.out_indices:
                outs.append(x)
        return tuple(outs)
