"""Cards of published models: what a model is, how it was trained and tested, and what it is not good for."""

import re
from pathlib import Path

from rescaps_plugin.cli.outputs import replacing
from rescaps_plugin.models.published import ZOO, PublishedModel, read_index
from rescaps_plugin.zoo.tasks import TASKS, describe_metric


def write_card(model: PublishedModel) -> None:
    """Write the card of a model to ``rescaps_plugin/zoo/cards``."""
    with replacing(ZOO / 'cards' / f'{model.name}.md') as draft:
        draft.write_text(format_card(model), encoding='utf-8')


def format_table(cards: str = 'rescaps_plugin/zoo/cards') -> str:
    """Format the table of the published models in README.md and on the site as Markdown.

    Args:
        cards: Folder of the cards, from the page. Defaults to that from the root of the repository.
    """
    lines = ['| name | data | result on the test set | parameters | file | training |', f'|{" --- |" * 6}']
    for model in read_index():
        title, value = describe_metric(model.metric, model.metrics[model.metric])
        cells = (
            f'[{model.name}]({cards}/{model.name}.md)',
            model.data,
            f'{title} {value}',
            f'{model.parameters / 1e6:.2f} M',
            f'{model.bytes / 1e6:.2f} MB',
            model.time,
        )
        lines.append(f'| {" | ".join(cells)} |')
    return '\n'.join(lines)


def write_table(page: Path) -> None:
    """Replace the table of the published models in a page, as :func:`format_table` formats it."""
    table = format_table()
    head = table.partition('\n')[0]
    text = re.sub(rf'{re.escape(head)}(\n\|.*)*', lambda _: table, page.read_text(encoding='utf-8'))
    with replacing(page) as draft:
        draft.write_text(text, encoding='utf-8')


def format_card(model: PublishedModel) -> str:
    """Format the card of a model as Markdown, with the front matter of model cards on Hugging Face's hub."""
    results = '\n'.join(
        f'| {" | ".join((*describe_metric(name, value), describe_metric(name, model.metrics_trained[name])[1]))} |'
        for name, value in model.metrics.items()
    )
    labels = f'\nClasses: {", ".join(model.labels)}.' if model.labels else ''
    names = f'`{model.name}`, in timm `{model.timm["name"]}`' if model.timm else f'`{model.name}`'
    size = f'{model.parameters / 1e6:.2f} M parameters, {model.bytes / 1e6:.2f} MB in {model.dtype}'
    imports, create = '', ''
    if model.timm:
        imports = 'import timm\n'
        create = f"model = timm.create_model('{model.timm['name']}', pretrained=True)\n"
    file = 'cloud.ply' if model.task == 'pointcloud' else 'photo.png'
    limits = '\n'.join(f'- {limit}' for limit in model.limits)
    return f"""---
license: apache-2.0
library_name: {'timm' if model.timm else 'rescaps'}
pipeline_tag: {TASKS[model.task].pipeline}
tags: [{', '.join(model.tags)}]
---

# {model.name}

{TASKS[model.task].title}: {names}. {size}.
Config: `{model.config}`.{labels}

## Use

```python
{imports}from rescaps_plugin import zoo

{create}result = zoo.load('{model.name}').predict('{file}')
```

`load_from='{model.arguments[1]}'` starts a training from these weights
in a config whose `custom_imports` names a package of this project, such as `rescaps_plugin.{model.task}`.

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
