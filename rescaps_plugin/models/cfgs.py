"""timm's default configurations of networks for the data sets that capsules are compared on."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from timm.models import generate_default_cfgs

from rescaps_plugin.models.published import list_networks


def untrained_cfg(input_size: tuple[int, int, int], mean: tuple, std: tuple, **kwargs) -> dict:
    """Return the ``default_cfg`` of a network without weights.

    Args:
        input_size: Channels, height and width of an image.
        mean: Mean of each channel.
        std: Standard deviation of each channel.
        **kwargs: Entries that the network adds or changes: ``pool_size``, ``classifier``, ...
    """
    return (
        dict(
            num_classes=10,
            input_size=input_size,
            crop_pct=1.0,
            interpolation='bicubic',
            fixed_input_size=True,
            mean=mean,
            std=std,
            first_conv='stem.conv',
            license='apache-2.0',
        )
        | kwargs
    )


mnist_cfg = partial(untrained_cfg, (1, 28, 28), (0.1307,), (0.3081,))
affnist_cfg = partial(untrained_cfg, (1, 40, 40), (0.0640,), (0.2127,))
# Images are standardised one by one.
smallnorb_cfg = partial(untrained_cfg, (1, 32, 32), (0.0,), (1.0,), num_classes=5)
cifar_cfg = partial(untrained_cfg, (3, 32, 32), (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
digits_cfg = partial(untrained_cfg, (1, 16, 16), (0.3129,), (0.3550,))


def list_cfgs(untrained: Mapping[str, dict]) -> Mapping[str, Any]:
    """Return timm's ``default_cfgs`` of networks: without weights, tagged ``untrained``, and with published weights.

    A name without a tag stands for the first published weights whose images have the size of the untrained network, or
    where there are none for ``untrained``.

    Args:
        untrained: :func:`untrained_cfg` of each network, by name.
    """
    cfgs = {}
    for network, cfg in untrained.items():
        published = {
            each.timm['name']: cfg
            | {key: value for key, value in each.timm.items() if key != 'name'}
            | dict(file=str(each.path), label_names=each.labels, description=f'Trained on {each.data}.')
            for each in list_networks(network)
        }
        same = [name for name, each in published.items() if each['input_size'] == cfg['input_size']]
        # timm's default is the last with an asterisk, or the first with weights.
        default = same[0] if same else f'{network}.untrained'
        for name, each in (published | {f'{network}.untrained': cfg}).items():
            cfgs[f'{name}*' if name == default else name] = each
    return generate_default_cfgs(cfgs)
