"""MMSegmentation's inferencer, which also knows the names of published models."""

from mmengine.config import Config
from mmseg.apis import MMSegInferencer as _MMSegInferencer

from rescaps_plugin.cli.config import load_config
from rescaps_plugin.models.published import PublishedWeightsError, find_published


class MMSegInferencer(_MMSegInferencer):
    """MMSegmentation's ``MMSegInferencer``; its ``model`` may also be the name of a published model.

    Args:
        *args: As of the base class: ``model``, ``weights``, ``classes``, ``palette``, ``dataset_name``, ``device``,
            ``scope``.
        **kwargs: The same by name.
    """

    def _load_model_from_metafile(self, model: str) -> tuple[Config, str]:
        try:
            published = find_published(model)
        except PublishedWeightsError as error:
            try:
                return super()._load_model_from_metafile(model)
            except ValueError as unknown:
                raise ValueError(f'{unknown}; {error}') from error
        if published.task != 'saliency':
            raise ValueError(f'model must be a detector; the published {published.name} is for {published.task}')
        config, weights = published.arguments
        return load_config(config), weights
