"""Implementation of ``tools/zoo.py``: list the published models."""

from argparse import Namespace

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.models.published import PublishedWeightsError, find_published, read_index
from rescaps_plugin.zoo.cards import format_card
from rescaps_plugin.zoo.tasks import describe_metric


def run(args: Namespace) -> None:
    """Print the published models as a table, or the card of one.

    Args:
        args: Arguments of ``tools/zoo.py``.

    Raises:
        UserError: There is no model of the given name.
    """
    if args.name is not None:
        try:
            print(format_card(find_published(args.name)), end='')
        except PublishedWeightsError as error:
            raise UserError(str(error)) from error
        return
    rows = [('name', 'task', 'data', 'result on the test set', 'parameters', 'file', 'licence of the data')]
    for model in read_index():
        if args.task in (None, model.task):
            title, value = describe_metric(model.metric, model.metrics[model.metric])
            sizes = f'{model.parameters / 1e6:.2f} M', f'{model.bytes / 1e6:.2f} MB'
            rows.append((model.name, model.task, model.data, f'{title} {value}', *sizes, model.data_license))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print('  '.join(f'{cell:{width}}' for cell, width in zip(row, widths, strict=True)).rstrip())
