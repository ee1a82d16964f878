"""The project's classifiers in mmpretrain's ``list_models`` and ``get_model``."""

from mmpretrain.apis import ModelHub

from rescaps_plugin.cli.main import ROOT

FAMILIES = ('capsnet', 'em_caps', 'rccaps', 'rescaps', 'resnet_cifar', 'srcaps')


def register_models() -> None:
    """Register the models of the families' metafiles in mmpretrain's hub, by their names there."""
    for family in FAMILIES:
        ModelHub.register_model_index(ROOT / 'configs' / family / 'metafile.yml', config_prefix=ROOT)
