"""Check a run before its first checkpoint: its config against its data, and its schedule against its length."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import ConstantParamScheduler, LinearParamScheduler, _ParamScheduler
from mmengine.optim.scheduler.param_scheduler import INF
from mmengine.runner import BaseLoop, IterBasedTrainLoop, Runner
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rescaps_plugin.cli.errors import UserError

# Where models of the OpenMMLab libraries keep the number of classes: the attributes below the model, outermost first.
_CLASS_COUNTS = ('head.num_classes', 'decode_head.num_classes', 'model.num_classes')
# Config keys of attributes that have another name: MMPretrain wraps a network of timm in ``model``.
_CLASS_KEYS = {'model.num_classes': 'num_classes'}


def check_loop(loop: BaseLoop, key: str) -> None:
    """Check that a loop is not empty.

    Args:
        loop: A training, validation or test loop. One without a ``dataloader``, or over a data set of unknown length,
            passes.
        key: The config's name of its data loader, such as ``'train_dataloader'``.

    Raises:
        UserError: The data loader has no batch (the message names samples, batch size and ``drop_last``), or the
            training has no epoch or iteration.
    """
    loader = getattr(loop, 'dataloader', None)
    try:
        batches = len(loader)
    except TypeError:  # no data loader, or one over a stream
        batches = None
    if batches == 0:
        raise UserError(_explain_empty(loader, key))
    if key == 'train_dataloader' and getattr(loop, '_max_iters', None) == 0:
        name = 'max_epochs' if getattr(loop, '_max_epochs', None) == 0 else 'max_iters'
        raise UserError(f'train_cfg.{name} must be at least 1, not 0: there is nothing to train.')


def _explain_empty(loader: Any, key: str) -> str:
    samples = len(loader.dataset)
    name = type(loader.dataset).__name__
    if samples == 0:
        return f'{key} has no batch to give: its data set {name} has no samples.'
    sampler = loader.batch_sampler
    size = getattr(sampler, 'batch_size', loader.batch_size)
    drop_last = getattr(sampler, 'drop_last', loader.drop_last)
    own = len(loader.sampler)
    share = '' if own == samples else f', {own} of them for this process'
    return (
        f'{key} has no batch of {size} samples to give: its data set {name} has {samples} samples{share}, '
        f'batch_size={size}, drop_last={drop_last}. Set {key}.batch_size to {max(own, 1)} or less, or '
        f'{key}.drop_last=False.'
    )


def check_classes(cfg: Config, model: nn.Module, loop: BaseLoop, key: str) -> str | None:
    """Compare the number of classes of a model with that of its data.

    Args:
        cfg: The config, for messages.
        model: The model. One whose number of classes is not where MMPretrain, MMSegmentation or timm have it passes.
        loop: The loop. Where its data set names no classes, its labels are checked, if it has one for each sample.
        key: The config's name of its data loader.

    Returns:
        A warning, if the model has more classes than the data.

    Raises:
        UserError: The data have more classes than the model, or labels outside of them, or the mixing of training
            samples is configured for another number than the model's. The message names the key and its correct value.
    """
    model = model.module if is_model_wrapper(model) else model
    dataset, classes = find_dataset(loop), find_classes(loop)
    found = find_class_count(model)
    if found is None:
        return None
    option, count = found
    where = f'config {cfg.filename}'
    if classes and len(classes) > count:
        raise UserError(
            f'{where}: {option}={count}, and {key}.dataset ({type(dataset).__name__}) has {len(classes)} classes: '
            f'set {option}={len(classes)}.'
        )
    wrong = [] if classes else [label for label in _find_labels(dataset) if not 0 <= label < count]
    if wrong:
        file = getattr(dataset, 'ann_file', None)
        raise UserError(
            f'{where}: {key}.dataset ({type(dataset).__name__}{f", {file}" if file else ""}): labels must be 0 to '
            f'{count - 1}, by {option}={count}, found {wrong[:10]}.'
        )
    preprocessor = getattr(model, 'data_preprocessor', None)
    mixed = getattr(preprocessor, 'num_classes', None)
    if key == 'train_dataloader' and getattr(preprocessor, 'batch_augments', None) is not None and mixed != count:
        raise UserError(
            f'{where}: data_preprocessor.num_classes={mixed}, by which batch_augments make targets, and '
            f'{option}={count}: set data_preprocessor.num_classes={count}.'
        )
    if classes and len(classes) < count:
        return f'{option}={count}, and {key}.dataset ({type(dataset).__name__}) has {len(classes)} classes.'
    return None


def _find_labels(dataset: Any) -> list[int]:
    """Return the different labels of MMPretrain's data sets; none where they are not numbers of classes."""
    if not hasattr(dataset, 'get_gt_labels'):
        return []
    try:
        labels = dataset.get_gt_labels()
    except (KeyError, ValueError):  # no labels, or different numbers of them
        return []
    return np.unique(labels).tolist() if labels.dtype.kind == 'i' else []


def find_dataset(loop: Any) -> Any:
    """Return the data set of a loop, if it is built and has one."""
    return getattr(getattr(loop, 'dataloader', None), 'dataset', None)


def find_classes(loop: Any) -> Sequence[str] | None:
    """Return the names of the classes of a loop's data set, if it is built and names any."""
    return (getattr(find_dataset(loop), 'metainfo', None) or {}).get('classes')


def compare_classes(trained: Sequence[str] | None, found: Sequence[str] | None, where: str) -> str | None:
    """Compare the names of the classes of evaluation data with those that a model was trained on.

    A data set that numbers the folders that it finds numbers them otherwise if a folder is missing or renamed.

    Args:
        trained: Names of the classes in training, in the order of their numbers; None if there are no names.
        found: Those of the data, of which there may be fewer.
        where: What the data are, for messages, such as ``'val_dataloader.dataset'``.

    Returns:
        A warning, if a number has different names, none of which has another number, as in different spellings.

    Raises:
        UserError: A class has another number in the data than in training.
    """
    pairs = list(zip(trained or (), found or (), strict=False))
    renamed = {number: pair for number, pair in enumerate(pairs) if pair[0] != pair[1]}
    if not renamed:
        return None
    moved = [name for _, name in renamed.values() if name in trained] or [
        name for name, _ in renamed.values() if name in found
    ]
    if moved:
        lacking = [name for name in trained if name not in found]
        new = [name for name in found if name not in trained]
        differences = [f'{what} {", ".join(names)}' for what, names in (('lack', lacking), ('have', new)) if names]
        raise UserError(
            f'{where}: class {moved[0]} is number {found.index(moved[0])}, and was {trained.index(moved[0])} in '
            f'training, so that labels are wrong. These data {" and ".join(differences) or "are in another order"}: '
            'name the same classes as in training, in the same order.'
        )
    shown = ', '.join(f'{number} is {theirs}, in training {ours}' for number, (ours, theirs) in [*renamed.items()][:3])
    return f'{where}: classes have other names than in training: {shown}{", ..." if len(renamed) > 3 else ""}.'


def find_class_count(model: nn.Module) -> tuple[str, int] | None:
    """Find the number of classes of a model.

    Args:
        model: A model of an OpenMMLab library.

    Returns:
        The config's key of it, such as ``'model.head.num_classes'``, and the number; None where there is none.
    """
    for path in _CLASS_COUNTS:
        value = model
        for name in path.split('.'):
            value = getattr(value, name, None)
        if isinstance(value, int) and value > 0:
            return f'model.{_CLASS_KEYS.get(path, path)}', value
    return None


def compare_schedule(
    schedulers: Sequence[_ParamScheduler] | dict[str, Sequence[_ParamScheduler]], loop: BaseLoop
) -> Iterator[str]:
    """Compare the length of schedules with that of the training.

    Args:
        schedulers: The runner's schedulers, or those of several optimizers by name.
        loop: The training loop.

    Yields:
        A warning, with both numbers, where a schedule continues after the end of the training, or ends before it and is
        not a warm-up.
    """
    groups = schedulers.values() if isinstance(schedulers, dict) else [schedulers]
    for group in groups:
        lengths = [(_end(scheduler), *_unit(scheduler, loop), scheduler) for scheduler in group or []]
        lengths = [entry for entry in lengths if entry[0] < INF]
        late = [entry for entry in lengths if entry[0] > entry[1]]
        # Of schedulers that overlap or follow each other, the last to end determines the final value.
        last = max(lengths, key=lambda entry: entry[0] / entry[1], default=None)
        if late:
            end, total, describe, scheduler = max(late, key=lambda entry: entry[0] / entry[1])
            effect = 'the schedule is cut off before its final value'
        elif last is not None and last[0] < last[1] and not _is_warm_up(last[3]):
            end, total, describe, scheduler = last
            effect = f'{scheduler.param_name} stays constant from then on'
        else:
            continue
        advice = 'Set both, or leave out the end of a scheduler that should follow train_cfg.'
        if isinstance(loop, IterBasedTrainLoop):
            advice += ' One that counts iterations needs by_epoch=False and convert_to_iter_based=False.'
        yield (
            f'param_scheduler and train_cfg disagree: {type(scheduler).__name__} ends after {describe(end)}, the '
            f'training after {describe(total)}: {effect}. {advice}'
        )


def _end(scheduler: _ParamScheduler) -> float:
    """Return the last step at which a scheduler changes the parameter."""
    ends = [scheduler.end, *getattr(scheduler, 'milestones', ())]
    if getattr(scheduler, 'T_max', None):
        ends.append(scheduler.begin + scheduler.T_max)
    return max(ends)


def _unit(scheduler: _ParamScheduler, loop: BaseLoop) -> tuple[int, Callable[[float], str]]:
    """Return the length of a training in a scheduler's steps, and a function that formats steps for messages."""
    if scheduler.by_epoch:
        return loop.max_epochs, lambda steps: f'{steps:g} epochs'
    if loop.max_epochs > 1 or loop.max_iters == len(loop.dataloader):  # converted from epochs, most likely
        return loop.max_iters, lambda steps: f'{steps / len(loop.dataloader):.3g} epochs ({steps} iterations)'
    return loop.max_iters, lambda steps: f'{steps} iterations'


def _is_warm_up(scheduler: _ParamScheduler) -> bool:
    """Whether a scheduler leaves the parameter at its configured value when it ends."""
    if isinstance(scheduler, LinearParamScheduler):
        return scheduler.end_factor == 1
    return isinstance(scheduler, ConstantParamScheduler)


class LastBatchHook(Hook):
    """Stop after the first iteration where the last batch of every epoch cannot be normalised.

    With one sample in the last batch, batch normalisation of maps of one pixel, or of vectors, has one value per
    channel, and PyTorch raises an error after all the other batches. Any batch shows whether a network has such a
    normalisation.
    """

    def __init__(self) -> None:
        self._handles: list[Any] = []
        self._checked = False
        self._single: list[str] = []

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Register hooks on the batch normalisations for the first iteration, if the last batch has one sample."""
        if self._checked:
            return
        self._checked = True
        batches = getattr(runner.train_loop.dataloader, 'batch_sampler', None)
        size, sampler = getattr(batches, 'batch_size', None), getattr(batches, 'sampler', None)
        if getattr(batches, 'drop_last', True) or not isinstance(size, int) or size < 2 or sampler is None:
            return
        if len(sampler) % size != 1 or runner.max_iters < len(batches):
            return
        for name, module in runner.model.named_modules():
            # Synchronised normalisation uses the batch of all processes.
            if isinstance(module, _BatchNorm) and not isinstance(module, nn.SyncBatchNorm):
                self._handles.append(module.register_forward_pre_hook(self._watch(name, size)))

    def _watch(self, name: str, size: int) -> Callable[[nn.Module, tuple[Tensor]], None]:
        def note(module: nn.Module, inputs: tuple[Tensor]) -> None:
            if module.training and inputs[0].numel() == size * inputs[0].shape[1]:
                self._single.append(name)

        return note

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Check the normalisations found in the first iteration.

        Raises:
            UserError: The last batch has one sample, and the network normalises over samples alone.
        """
        for handle in self._handles:
            handle.remove()
        self._handles = []
        if self._single:
            batches = runner.train_loop.dataloader.batch_sampler
            raise UserError(
                f'train_dataloader: {len(batches.sampler)} samples in batches of {batches.batch_size} leave one for '
                f'the last batch, and batch normalisation ({self._single[0]}) takes two or more: set '
                'train_dataloader.drop_last=True, or another train_dataloader.batch_size.'
            )


@contextmanager
def batch_errors() -> Iterator[None]:
    """Turn PyTorch's error of a training batch of one sample into one that names the config's keys.

    Raises:
        UserError: Batch normalisation got one value per channel.
    """
    try:
        yield
    except ValueError as error:
        if 'Expected more than 1 value per channel' not in str(error):
            raise
        raise UserError(
            f'a training batch has one sample, and batch normalisation takes two or more ({error}): set '
            'train_dataloader.drop_last=True, or train_dataloader.batch_size to 2 or more.'
        ) from error
