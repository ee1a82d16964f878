"""Build the networks of timm, with or without published weights."""

from functools import partial
from typing import Any

from timm.models import build_model_with_cfg, resolve_pretrained_cfg

from rescaps_plugin.models.checkpoints import checkpoint_filter_fn
from rescaps_plugin.models.published import list_networks, read_file


def build_network(model_class: type, variant: str, pretrained: bool, **kwargs: Any) -> Any:
    """Build a network by timm's ``build_model_with_cfg``, for the functions that are registered in timm.

    Args:
        model_class: Class of the network.
        variant: Its name in timm.
        pretrained: Whether to load the weights of its ``pretrained_cfg``.
        **kwargs: Arguments of ``build_model_with_cfg`` and of the class.

    Raises:
        PublishedWeightsError: The file of published weights is missing or damaged.
        RuntimeError: There are no weights; names the tags that have some.
    """
    if pretrained:
        cfg = resolve_pretrained_cfg(variant, kwargs.get('pretrained_cfg'), kwargs.get('pretrained_cfg_overlay'))
        published = list_networks(variant)
        for each in published:
            if cfg.file == str(each.path):
                read_file(each)  # timm reads it again, without comparing its hash
        if not cfg.has_weights and not cfg.state_dict:
            names = ', '.join(each.timm['name'] for each in published)
            raise RuntimeError(
                f'there are no weights of {variant}'
                + (f' without a tag; there are of {names}.' if names else '; timm.list_pretrained lists what has some.')
            )
    filter_fn = partial(checkpoint_filter_fn, features_only=kwargs.get('features_only', False))
    return build_model_with_cfg(model_class, variant, pretrained, pretrained_filter_fn=filter_fn, **kwargs)
