"""The output of class capsules that a loss reads, and the predictions from it."""

from mmpretrain.models.losses import AsymmetricLoss, CrossEntropyLoss, FocalLoss, LabelSmoothLoss, SeesawLoss
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from rescaps_plugin.classification.losses import CapsuleLoss
from rescaps_plugin.layers.checks import check_choice
from rescaps_plugin.models.network import OUTPUTS

LOGIT_LOSSES = (AsymmetricLoss, CrossEntropyLoss, FocalLoss, LabelSmoothLoss, SeesawLoss)


def choose_output(loss: nn.Module, output: str | None) -> str:
    """Return the output of class capsules that a loss reads: ``'activation'`` or ``'logit'``.

    Args:
        loss: The loss. One that is neither of this package nor of mmpretrain may read either.
        output: What the config asks for; None is what the loss reads, activations if that is not known.

    Raises:
        ValueError: If there is no such output, or the loss reads the other.
    """
    reads = None
    if isinstance(loss, CapsuleLoss):
        reads = 'logit' if loss.use_sigmoid else 'activation'
    elif isinstance(loss, LOGIT_LOSSES):
        reads = 'logit'
    if output is not None:
        check_choice('output', output, OUTPUTS)
        if reads is not None and output != reads:
            name = type(loss).__name__
            other = f'; {name}(use_sigmoid={not loss.use_sigmoid}) reads it' if isinstance(loss, CapsuleLoss) else ''
            raise ValueError(f'output must be {reads!r} with {name}, or left out, got {output!r}{other}')
    return output or reads or 'activation'


class CapsulePredictions:
    """Mixin of mmpretrain's heads and classifiers for class capsules, whose ``output`` is what the loss reads.

    Activations are the scores as they are: a softmax would level them. Of log-odds the softmax is, as in mmpretrain.
    """

    output: str

    def _get_predictions(
        self, cls_score: Tensor, data_samples: list[DataSample | None] | None = None
    ) -> list[DataSample]:
        """Set ``pred_score`` and ``pred_label``."""
        if self.output == 'logit':
            return super()._get_predictions(cls_score, data_samples)
        if data_samples is None:
            data_samples = [None] * len(cls_score)
        labels = cls_score.argmax(dim=1, keepdim=True)
        samples = [DataSample() if sample is None else sample for sample in data_samples]
        for sample, score, label in zip(samples, cls_score, labels, strict=True):
            sample.set_pred_score(score).set_pred_label(label)
        return samples
