"""Losses of saliency maps, which compare a map with the mask by pixels, by regions, by structure and along contours.

All take logits ``[b, 1, h, w]`` and masks ``[b, 1, h, w]`` of 0 and 1, compute in at least float32, whatever the dtype
of autocast, and average over the batch. ``valid`` [b, 1, h, w] is 0 for pixels to ignore, such as padding, else 1.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Keeps the quotient of two empty contours finite; a pixel on a contour counts about 1.
LEAST_CONTOUR = 1e-6


def _prepare(logit: Tensor, mask: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    if logit.dim() != 4 or logit.shape[1] != 1 or mask.shape != logit.shape:
        raise ValueError(
            f'saliency losses take logits and masks [b, 1, h, w], got {tuple(logit.shape)} and {tuple(mask.shape)}'
        )
    if valid is not None and valid.shape != logit.shape:
        raise ValueError(f'valid must be of the shape of the mask, {tuple(mask.shape)}, got {tuple(valid.shape)}')
    dtype = torch.promote_types(logit.dtype, torch.float32)
    valid = torch.ones_like(logit, dtype=dtype) if valid is None else valid.to(dtype)
    return logit.to(dtype), mask.to(dtype), valid


def _pixels(x: Tensor) -> Tensor:
    return x.sum(dim=(1, 2, 3))


def _iou(probability: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Return ``1 - (sum(p g) + 1) / (sum(p + g - p g) + 1)`` of every image, pixels weighted, ``[b]``."""
    both = probability * mask
    return 1 - (_pixels(both * weight) + 1) / (_pixels((probability + mask - both) * weight) + 1)


def _cross_entropy(logit: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean of the binary cross-entropy of every image, ``[b]``; 0 where nothing has weight."""
    loss = F.binary_cross_entropy_with_logits(logit, mask, reduction='none')
    return _pixels(loss * weight) / _pixels(weight).clamp_min(1)


def iou_loss(logit: Tensor, mask: Tensor, valid: Tensor | None = None) -> Tensor:
    """IoU loss, ``1 - (sum(p g) + 1) / (sum(p + g - p g) + 1)`` per image (Zhuge et al., TPAMI 2022).

    Args:
        logit: Logits of saliency, ``[b, 1, h, w]``.
        mask: Masks of 0 and 1, ``[b, 1, h, w]``.
        valid: 1 where a pixel counts, ``[b, 1, h, w]``. Defaults to None: all do.

    Returns:
        The mean over images, a scalar.

    Raises:
        ValueError: If the shapes do not match.

    Example:
        >>> iou_loss(torch.full((1, 1, 2, 2), 99.0), torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]]))
        tensor(0.4000)
    """
    logit, mask, valid = _prepare(logit, mask, valid)
    return _iou(torch.sigmoid(logit), mask, valid).mean()


def bce_loss(logit: Tensor, mask: Tensor, valid: Tensor | None = None) -> Tensor:
    """Binary cross-entropy, averaged over pixels.

    Arguments, result and errors are those of :func:`iou_loss`.
    """
    return _cross_entropy(*_prepare(logit, mask, valid)).mean()


def bce_iou_loss(logit: Tensor, mask: Tensor, valid: Tensor | None = None) -> Tensor:
    """Binary cross-entropy, averaged over pixels, plus :func:`iou_loss` (Zhuge et al., TPAMI 2022).

    Arguments, result and errors are those of :func:`iou_loss`.
    """
    logit, mask, valid = _prepare(logit, mask, valid)
    return (_cross_entropy(logit, mask, valid) + _iou(torch.sigmoid(logit), mask, valid)).mean()


def structure_loss(
    logit: Tensor, mask: Tensor, valid: Tensor | None = None, window: int = 31, emphasis: float = 5.0
) -> Tensor:
    """Cross-entropy and IoU, weighted by a pixel's difference from its surroundings (Wei et al., *F3Net*, AAAI 2020).

    A pixel weighs ``1 + emphasis |mean of the mask in its window - mask|``, so contours and thin parts weigh most.

    Args:
        logit: Logits of saliency, ``[b, 1, h, w]``.
        mask: Masks of 0 and 1, ``[b, 1, h, w]``.
        valid: 1 where a pixel counts, ``[b, 1, h, w]``. Defaults to None: all do.
        window: Side of the window, odd. Defaults to 31.
        emphasis: Weight of the difference. Defaults to 5.

    Returns:
        The mean over images, a scalar.

    Raises:
        ValueError: If the shapes do not match, or the window is even.
    """
    if window < 1 or window % 2 == 0:
        raise ValueError(f'window must be odd, got {window!r}')
    logit, mask, valid = _prepare(logit, mask, valid)
    surroundings = F.avg_pool2d(mask * valid, window, stride=1, padding=window // 2)
    weight = (1 + emphasis * (surroundings - mask).abs()) * valid
    return (_cross_entropy(logit, mask, weight) + _iou(torch.sigmoid(logit), mask, weight)).mean()


def sobel_magnitude(image: Tensor) -> Tensor:
    """Return the magnitude of the Sobel gradient of images ``[b, 1, h, w]``.

    The border is replicated, so that an object cut off by the image has no contour along the border.
    """
    image = F.pad(image, (1, 1, 1, 1), mode='replicate')
    # Written as differences: a kernel would have to be copied to the device, and be rounded by a convolution in TF32.
    across = image[..., :-2] - image[..., 2:]
    down = image[..., :-2, :] - image[..., 2:, :]
    across = across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]
    down = down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]
    # Its derivative is 0, not infinite, where the gradient is.
    return torch.linalg.vector_norm(torch.cat([across, down], dim=1), dim=1, keepdim=True)


def contour_iou_loss(logit: Tensor, mask: Tensor, valid: Tensor | None = None) -> Tensor:
    """Contour IoU loss, ``1 - 2 sum(p g) / (sum p^2 + sum g^2)`` per image, ``p`` and ``g`` contours (TSPOANet).

    Contours are those of the probability and of the mask, ``tanh`` of ``sobel_magnitude``. Two images without
    contours agree: their loss is 0.

    Arguments, result and errors are those of :func:`iou_loss`.
    """
    logit, mask, valid = _prepare(logit, mask, valid)
    with torch.autocast(logit.device.type, enabled=False):
        contour = torch.tanh(sobel_magnitude(torch.sigmoid(logit))) * valid
        target = torch.tanh(sobel_magnitude(mask * valid)) * valid
    both = 2 * _pixels(contour * target) + LEAST_CONTOUR
    return (1 - both / (_pixels(contour.square()) + _pixels(target.square()) + LEAST_CONTOUR)).mean()


class BCELoss(nn.Module):
    """Cross-entropy; arguments and shapes as in :func:`bce_loss`."""

    def forward(self, logit: Tensor, mask: Tensor, valid: Tensor | None = None) -> Tensor:
        return bce_loss(logit, mask, valid)


class BCEIoULoss(nn.Module):
    """Cross-entropy and IoU loss; arguments and shapes as in :func:`bce_iou_loss`."""

    def forward(self, logit: Tensor, mask: Tensor, valid: Tensor | None = None) -> Tensor:
        return bce_iou_loss(logit, mask, valid)


class StructureLoss(nn.Module):
    """Structure loss; arguments and shapes as in :func:`structure_loss`.

    Args:
        window: Side of the window, odd. Defaults to 31.
        emphasis: Weight of the difference. Defaults to 5.
    """

    def __init__(self, window: int = 31, emphasis: float = 5.0) -> None:
        super().__init__()
        self.window = window
        self.emphasis = emphasis

    def forward(self, logit: Tensor, mask: Tensor, valid: Tensor | None = None) -> Tensor:
        return structure_loss(logit, mask, valid, self.window, self.emphasis)


class ContourIoULoss(nn.Module):
    """Contour IoU loss; arguments and shapes as in :func:`contour_iou_loss`."""

    def forward(self, logit: Tensor, mask: Tensor, valid: Tensor | None = None) -> Tensor:
        return contour_iou_loss(logit, mask, valid)
