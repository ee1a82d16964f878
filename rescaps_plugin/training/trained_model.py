"""Open a trained model: its config, and the model with the weights of a checkpoint."""

from argparse import Namespace
from collections.abc import Callable

from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from rescaps_plugin.cli.config import load_config, require, set_work_dir
from rescaps_plugin.data.pipelines import check_images
from rescaps_plugin.training.checkpoint_loader import check_exists, open_safely


def open_trained(
    config: str, checkpoint: str, args: Namespace, load: Callable[[Config, str, str], nn.Module]
) -> tuple[Config, nn.Module]:
    """Read a config and load a checkpoint of its model by the arguments of a tool.

    Args:
        config: Path of the config, or ``package::path``.
        checkpoint: Path or URL.
        args: Arguments of :func:`~rescaps_plugin.cli.arguments.add_config_arguments`, and ``device``.
        load: Builds the model of a config and loads a checkpoint of it: config, checkpoint, device.

    Returns:
        The config, with a ``work_dir``, and the model.

    Raises:
        UserError: The config or checkpoint does not exist; or as ``load``.
    """
    cfg = load_config(config, args.cfg_options)
    require(cfg, 'model')
    init_default_scope(cfg.get('default_scope'))
    cfg = check_images(cfg)
    check_exists(checkpoint)
    set_work_dir(cfg, None)
    with open_safely(checkpoint, trust=args.trust_checkpoint):
        return cfg, load(cfg, checkpoint, args.device)
