"""Image classifier around a capsule network of timm."""

from typing import Any

import torch
import torch.nn.functional as F
from mmpretrain.models.classifiers import TimmClassifier
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from rescaps_plugin.classification.head import size_text
from rescaps_plugin.classification.predictions import CapsulePredictions, choose_output
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.layers.window import full_precision

_SPREAD_LOSS = dict(type='SpreadLoss')


@MODELS.register_module()
class TimmCapsuleClassifier(CapsulePredictions, TimmClassifier):
    """mmpretrain's ``TimmClassifier`` for capsule networks.

    With the capsule losses, ``SpreadLoss`` and ``MarginLoss``, scores are class activations: each in (0, 1), and not
    softened by a softmax. With mmpretrain's losses of logits, such as ``CrossEntropyLoss``, the network is built with
    ``output='logit'``, and scores are the softmax of these.

    Args:
        *args: Positional arguments of ``timm.create_model``.
        loss: Loss on the activations or their log-odds. Defaults to ``dict(type='SpreadLoss')``.
        output: ``'activation'`` or ``'logit'``; None is what the loss reads, activations if that is unknown. Defaults
            to None.
        reconstruction_weight: Weight of the squared error, summed over the image, of what the network's decoder makes
            of the target's capsule; a network of ``reconstruction=True`` needs it. Defaults to 0.
        **kwargs: Other arguments of ``TimmClassifier`` and of ``timm.create_model``: ``model_name``, ``num_classes``,
            ``with_cp``, ...

    Raises:
        ValueError: If one of the decoder and the weight of its loss is there without the other, or the loss reads
            another ``output``.
    """

    def __init__(
        self,
        *args,
        loss: dict = _SPREAD_LOSS,
        output: str | None = None,
        reconstruction_weight: float = 0.0,
        **kwargs,
    ) -> None:
        loss_module = loss if isinstance(loss, nn.Module) else MODELS.build(loss)
        output = choose_output(loss_module, output)
        if output == 'logit':
            kwargs['output'] = 'logit'
        super().__init__(*args, loss=loss_module, **kwargs)
        self.output = output
        if (reconstruction_weight > 0) != (getattr(self.model, 'decoder', None) is not None):
            raise ValueError(
                'reconstruction_weight must be positive with a network of reconstruction=True and 0 with any other, '
                f'got {reconstruction_weight!r}'
            )
        self.reconstruction_weight = reconstruction_weight
        self.in_channels = next(module.in_channels for module in self.model.modules() if isinstance(module, nn.Conv2d))

    # The hooks of the base class return another dictionary, which PyTorch ignores for a classifier inside of another
    # module, such as the average of EMAHook, and drop entries of that module.
    @staticmethod
    def _remove_state_dict_prefix(module: nn.Module, state_dict: dict[str, Any], prefix: str, _: dict) -> None:
        """Name the entries of the network as timm does."""
        for key in [key for key in state_dict if key.startswith(prefix)]:
            state_dict[prefix + key.removeprefix(prefix).removeprefix('model.')] = state_dict.pop(key)

    @staticmethod
    def _add_state_dict_prefix(state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
        """Undo :meth:`_remove_state_dict_prefix`."""
        for key in [key for key in state_dict if key.startswith(prefix)]:
            state_dict[f'{prefix}model.{key.removeprefix(prefix)}'] = state_dict.pop(key)

    def forward(self, inputs: Tensor, data_samples: list[DataSample] | None = None, mode: str = 'tensor') -> Any:
        """Return what ``mode`` asks for, as MMPretrain's classifiers do.

        Raises:
            UserError: The images ``[b, c, h, w]`` have not the channels or the size that the network was built for;
                names the config's key and the right value.
        """
        if inputs.shape[1] != self.in_channels:
            raise UserError(
                f'model.in_chans is {self.in_channels}, and the images have {inputs.shape[1]} channels: set '
                f'model.in_chans={inputs.shape[1]}.'
            )
        try:
            return super().forward(inputs, data_samples, mode)
        except AssertionError as error:
            if not any(getattr(module, 'size_error', None) == str(error) for module in self.model.modules()):
                raise
            size = size_text(inputs.shape[2:])
            raise UserError(
                f'model.img_size is not the size of the images, {size}: set model.img_size={size} to train with them; '
                'a trained network takes images of the size it was trained with, by a Resize in the pipeline.'
            ) from error

    def loss(self, inputs: Tensor, data_samples: list[DataSample], **kwargs) -> dict[str, Tensor]:
        """Compute the losses of a batch: ``loss``, or ``loss_class`` and ``loss_reconstruction`` with a decoder."""
        if self.reconstruction_weight == 0:
            return super().loss(inputs, data_samples, **kwargs)
        if 'gt_score' in data_samples[0]:
            target = torch.stack([sample.gt_score for sample in data_samples])
        else:
            target = torch.cat([sample.gt_label for sample in data_samples])
        cls_score, image = self.model.forward_reconstruction(inputs, target)
        error = F.mse_loss(full_precision(image), full_precision(inputs), reduction='sum') / len(inputs)
        return dict(
            loss_class=self.loss_module(cls_score, target, **kwargs),
            loss_reconstruction=self.reconstruction_weight * error,
        )
