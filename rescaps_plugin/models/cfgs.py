"""timm's default configurations of networks for the data sets that capsules are compared on."""

from functools import partial


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
