"""Capsule classification head for mmpretrain."""

from collections.abc import Sequence

from mmpretrain.models.heads import ClsHead
from mmpretrain.registry import MODELS
from torch import Tensor

from rescaps_plugin.classification.predictions import CapsulePredictions, choose_output
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.models import CapsuleClassifier

_SPREAD_LOSS = dict(type='SpreadLoss')


def size_text(size: Sequence[int]) -> str:
    """Write a height and width as a config does: one number for a square."""
    height, width = map(int, size)
    return str(height) if height == width else f'({height},{width})'


@MODELS.register_module()
class CapsuleClsHead(CapsulePredictions, ClsHead):
    """Primary capsules of the classes, ResPC, and a loss (Liu et al. 2024, block 5 of Fig. 3).

    With the capsule losses, ``SpreadLoss`` and ``MarginLoss``, scores are class activations: each in (0, 1), and not
    summing to one. With mmpretrain's losses of logits, such as ``CrossEntropyLoss``, the loss reads the log-odds of the
    activations, and scores are their softmax. All take soft targets (mixup, CutMix, label smoothing).

    Args:
        num_classes: Number of classes.
        in_channels: Channels of the last feature map.
        feature_size: Height and width of the last feature map; needed by ``global_pool='flatten'``. Defaults to None.
        global_pool: ``'flatten'`` or ``'avg'``, see :class:`~rescaps_plugin.models.CapsuleClassifier`. Defaults to
            ``'flatten'``.
        pose_size: Side of the pose matrices. Defaults to 4.
        routing: ``'window'`` or ``'pointwise'``, see there. Defaults to ``'window'``.
        residual: ``'identity'``, ``'ones'`` or ``'none'``, see there. Defaults to ``'identity'``.
        transform_std: Standard deviation that pose transforms start with. Defaults to 0.1.
        deploy: Whether to build the deploy form. Defaults to False.
        loss: Loss on the activations or their log-odds. Defaults to ``dict(type='SpreadLoss')``.
        output: ``'activation'`` or ``'logit'``; None is what the loss reads, activations if that is unknown. Defaults
            to None.
        **kwargs: Arguments of mmpretrain's ``ClsHead``: ``topk``, ``cal_acc``, ``init_cfg``.

    Raises:
        ValueError: If ``feature_size`` is missing with ``global_pool='flatten'``, or the loss reads another ``output``.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        feature_size: int | tuple[int, int] | None = None,
        global_pool: str = 'flatten',
        pose_size: int = 4,
        routing: str = 'window',
        residual: str = 'identity',
        transform_std: float = 0.1,
        deploy: bool = False,
        loss: dict = _SPREAD_LOSS,
        output: str | None = None,
        **kwargs,
    ) -> None:
        super().__init__(loss=loss, **kwargs)
        if num_classes < 1:
            raise ValueError(f'num_classes must be positive, got {num_classes}')
        self.num_classes = num_classes
        self.in_channels = in_channels
        self.output = choose_output(self.loss_module, output)
        self.caps = CapsuleClassifier(
            in_channels,
            num_classes,
            feature_size,
            global_pool,
            pose_size,
            routing,
            residual,
            transform_std,
            output=self.output,
        )
        if deploy:
            self.caps.fuse()

    def pre_logits(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Return the pooled last feature map ``[b, features]``."""
        return self.caps(self._check(feats[-1]), pre_logits=True)

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Return class activations ``[b, num_classes]``, or their log-odds, from the last of the feature maps.

        Raises:
            UserError: The map has not the channels or the size that the head is configured for; names the config's key
                and the right value.
        """
        return self.caps(self._check(feats[-1]))

    def _check(self, x: Tensor) -> Tensor:
        if x.shape[1] != self.in_channels:
            raise UserError(
                f'model.head.in_channels={self.in_channels}, and what the head gets has {x.shape[1]} channels: set '
                f'model.head.in_channels={x.shape[1]}.'
            )
        expected = self.caps.feature_size
        if expected is not None and tuple(x.shape[2:]) != tuple(expected):
            raise UserError(
                f'model.head.feature_size={size_text(expected)}, and images of this size end as feature maps of '
                f'{size_text(x.shape[2:])}: set model.head.feature_size={size_text(x.shape[2:])} to train with them; a '
                'trained head takes images of the size it was trained with, by a Resize in the pipeline.'
            )
        return x
