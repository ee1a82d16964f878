"""Build models from configs and replace their convolutions by residual pose routing."""

from mmengine.registry import MODELS
from torch import nn

from rescaps_plugin.models import convert_to_rpr


@MODELS.register_module('RPRModel')
def convert_model(model: dict, data_preprocessor: dict | None = None, **rpr) -> nn.Module:
    """Build the model of a config and convert it by :func:`~rescaps_plugin.models.convert_to_rpr`.

    For models without ``conv_cfg``, such as those of timm and torchvision::

        _base_ = '...'
        custom_imports = dict(imports=['rescaps_plugin.swap'])
        model = dict(_delete_=True, type='RPRModel', model={{_base_.model}}, select='*.layer4.*.conv2')

    Args:
        model: Config of the model, of any library.
        data_preprocessor: Passed by the runner, and forwarded to the model. Defaults to None.
        **rpr: ``select`` and other arguments of ``convert_to_rpr``.

    Returns:
        The model, converted in place; its initialisation and checkpoints work as before.
    """
    if data_preprocessor is not None:
        model = dict(dict(data_preprocessor=data_preprocessor), **model)
    return convert_to_rpr(MODELS.build(model), **rpr)
