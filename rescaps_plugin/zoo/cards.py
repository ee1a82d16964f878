"""Cards of published models: what a model is, how it was trained and tested, and what it is not good for."""

from rescaps_plugin.cli.outputs import replacing
from rescaps_plugin.models.published import SCHEME, ZOO, PublishedModel

# Tasks by the default_scope of configs, and their titles in metafiles.
TASKS = {'mmpretrain': 'classification', 'mmseg': 'saliency', 'mmengine': 'pointcloud'}
TITLES = {
    'classification': 'Image Classification',
    'saliency': 'Salient Object Detection',
    'pointcloud': 'Point Cloud Reconstruction',
}


def describe_metric(name: str, value: float) -> tuple[str, str]:
    """Return the title of a metric and its value as text, in the units of the project's pages.

    Args:
        name: Name in the results of a test, such as ``'accuracy/top1'``.
        value: The value.
    """
    kind = name.rpartition('/')[2]
    if name.startswith('accuracy/top'):
        return f'Top {kind.removeprefix("top")} Accuracy', f'{value:.2f}'
    if name == 'chamfer/mean':
        return 'Chamfer Distance x 1000', f'{value:.2f}'
    return kind, f'{value:.3f}'


def write_card(model: PublishedModel) -> None:
    """Write the card of a model to ``rescaps_plugin/zoo/cards``."""
    with replacing(ZOO / 'cards' / f'{model.name}.md') as draft:
        draft.write_text(format_card(model), encoding='utf-8')


def format_card(model: PublishedModel) -> str:
    """Format the card of a model as Markdown, with the front matter of model cards on Hugging Face's hub."""
    rows = [describe_metric(name, value) + (model.metrics_trained[name],) for name, value in model.metrics.items()]
    results = '\n'.join(
        f'| {title} | {text} | {describe_metric(name, trained)[1]} |'
        for name, (title, text, trained) in zip(model.metrics, rows, strict=True)
    )
    labels = f'Classes: {", ".join(model.labels)}.\n\n' if model.labels else ''
    names = f'`{model.name}`, in timm `{model.timm["name"]}`' if model.timm else f'`{model.name}`'
    use = ''
    if model.timm:
        use = f"timm.create_model('{model.timm['name']}', pretrained=True)  # after import rescaps_plugin, timm\n"
    limits = '\n'.join(f'- {limit}' for limit in model.limits)
    return f"""---
license: apache-2.0
library_name: {'timm' if model.timm else 'rescaps'}
pipeline_tag: {_PIPELINES[model.task]}
tags: [capsule-network, residual-pose-routing]
---

# {model.name}

{TITLES[model.task]}: {names}, {model.parameters / 1e6:.2f} M parameters, {model.bytes / 1e6:.2f} MB in {model.dtype}.
Config: `{model.config}`. {labels}## Use

```python
from rescaps_plugin import zoo

{use}result = zoo.load('{model.name}').predict(path)
```

`load_from='{SCHEME}{model.name}'` starts a training with any config from these weights.

## Data

{model.data}; licence: {model.data_license}. Trained on {model.train}; tested on {model.test}.

## Results

{model.samples} test samples. This file stores weights in {model.dtype}; the last column is the network as trained.

| metric | this file | trained |
| --- | --- | --- |
{results}

## Training

```shell
{model.command}
```

Commit {model.commit}, seed {model.seed}, {model.time}, {model.machine}. Published with rescaps {model.version}.

## What it is not good for

{limits}
"""


_PIPELINES = {
    'classification': 'image-classification',
    'saliency': 'image-segmentation',
    'pointcloud': 'feature-extraction',
}
