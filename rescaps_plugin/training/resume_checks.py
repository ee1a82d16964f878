"""Check that a checkpoint can be resumed under a config, and report settings of the config that it overrides."""

import inspect
from collections.abc import Callable
from typing import Any, NoReturn

from mmengine._strategy import SingleDeviceStrategy
from mmengine.dist import get_world_size
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn
from torch.optim import Optimizer

from rescaps_plugin.training.checkpoint_reader import CheckpointError
from rescaps_plugin.training.precision import find_precision

Refuse = Callable[[str], NoReturn]
# Entries of an optimizer's groups that do not change its results.
_IMPLEMENTATION = {'params', 'foreach', 'fused', 'capturable'}
_ADVICE = 'To start a new training from its weights, drop --resume and add --cfg-options load_from={filename}.'


def describe_plan(runner: Runner) -> dict[str, Any]:
    """Return the settings of a training by which it is resumed: batch size, length of an epoch, optimizer, precision.

    Args:
        runner: A runner in training.

    Returns:
        Plain data for the checkpoint; settings that the runner lacks are left out.
    """
    loop, wrapper = runner.train_loop, runner.optim_wrapper
    plan = {}
    batches = getattr(loop, 'batches', None)
    if batches is not None:
        plan['batch_size'] = batches.batch_size * get_world_size()
    if isinstance(loop, EpochBasedTrainLoop):
        plan['iterations_per_epoch'] = len(loop.dataloader)
    if isinstance(wrapper, OptimWrapper):
        plan['accumulative_counts'] = wrapper._accumulative_counts
        plan['optimizer'] = type(wrapper.optimizer).__name__
        plan['precision'] = find_precision(wrapper)
    return plan


def check_resumable(runner: Runner, checkpoint: dict[str, Any]) -> None:
    """Check a checkpoint that a runner is about to resume from, and log which state it restores.

    Args:
        runner: The runner, built from its config.
        checkpoint: As loaded.

    Raises:
        CheckpointError: It has no progress of a training, or no state of the optimizer or schedule, or one that does
            not fit the config; or an epoch had another number of iterations.
    """
    filename = runner.cfg.get('load_from')

    def refuse(reason: str) -> NoReturn:
        advice = _ADVICE.format(filename=filename)
        raise CheckpointError(f'training cannot go on from checkpoint {filename}: {reason}. {advice}')

    _check_place(checkpoint, refuse)
    # DeepSpeed and ColossalAI keep states in separate files.
    keeps_states = isinstance(runner, Runner) or isinstance(runner.strategy, SingleDeviceStrategy)
    schedules = runner.param_schedulers
    if keeps_states:
        if not isinstance(checkpoint.get('optimizer'), dict):
            refuse('it has no state of the optimizer; best_*.pth and published weights have none')
        if schedules and not checkpoint.get('param_schedulers'):
            refuse('it has no state of the parameter schedule')
    differences = []
    saved = checkpoint.get('resume', {}).get('plan', {})
    plan = describe_plan(runner)
    if isinstance(saved, dict):
        _check_plan(plan, saved, refuse, differences)
    # Weights of another model are refused when they are loaded, with a better message.
    if keeps_states and isinstance(runner.optim_wrapper, OptimWrapper) and _fits(runner.model, checkpoint):
        _check_optimizer(runner, checkpoint['optimizer'], refuse, differences)
    if keeps_states and isinstance(schedules, list) and not all(isinstance(each, dict) for each in schedules):
        _check_schedules(schedules, checkpoint.get('param_schedulers') or [], refuse, differences)
    score = checkpoint['message_hub']['runtime_info'].get('best_score')
    runner.logger.info(
        f'Resumed from {filename}: weights, state of the optimizer'
        f'{" and of " + str(len(schedules)) + " parameter schedules" if schedules else ""}, log history, place in the '
        f'training{"" if score is None else f", best score so far ({score:.4g})"}. From the config: model, data, hooks '
        'and how long to train.'
    )
    for difference in differences:
        runner.logger.warning(f'Not resumed as configured: {difference} {_ADVICE.format(filename=filename)}')


def _fits(model: nn.Module, checkpoint: dict[str, Any]) -> bool:
    """Whether a checkpoint has every parameter of the model, by the same name and of the same shape."""
    model = model.module if is_model_wrapper(model) else model
    state = checkpoint.get('state_dict', {})
    return all(getattr(state.get(name), 'shape', None) == value.shape for name, value in model.named_parameters())


def _check_place(checkpoint: dict[str, Any], refuse: Refuse) -> None:
    meta, messages = checkpoint.get('meta', {}), checkpoint.get('message_hub', {})
    for key in ('epoch', 'iter'):
        if type(meta.get(key)) is not int or meta[key] < 0:
            refuse(f'its meta.{key} is {meta.get(key)!r:.50}, not a place in a training')
    if not isinstance(meta.get('seed'), (int, type(None))):
        refuse(f'its meta.seed is {meta["seed"]!r:.50}, not a number')
    for key in ('log_scalars', 'runtime_info', 'resumed_keys'):
        if not isinstance(messages.get(key), dict):
            refuse(f'its message_hub has no {key}')
    for key, value in messages['runtime_info'].items():
        if str(key).startswith('best_score') and not isinstance(value, (int, float)):
            refuse(f'its {key} is {value!r:.50}, not a number')
    state = checkpoint.get('resume', {})
    places = isinstance(state, dict) and [state.get(key, 0) for key in ('batches_done', 'owes_validation')]
    if (
        not places
        or not all(isinstance(value, int) for value in places)
        or not isinstance(state.get('gradients', {}), dict)
    ):
        refuse('its place in the epoch is not as it was saved')


def _check_plan(plan: dict[str, Any], saved: dict[str, Any], refuse: Refuse, differences: list[str]) -> None:
    changed = {key: (saved[key], plan[key]) for key in plan if key in saved and saved[key] != plan[key]}
    if 'optimizer' in changed:
        refuse('its optimizer is {}, and that of the config {}'.format(*changed['optimizer']))
    batch = 'the batch over all processes was {} and is {}'.format(*changed.get('batch_size', ('', '')))
    if 'iterations_per_epoch' in changed:
        reason = 'an epoch had {} iterations and has {}'.format(*changed['iterations_per_epoch'])
        why = f', since {batch}' if 'batch_size' in changed else ''
        refuse(f'{reason}{why}, so that neither its place nor its schedule would be right')
    if 'batch_size' in changed:
        differences.append(f'{batch}; the schedule continues by iterations.')
    for key in ('accumulative_counts', 'precision'):
        if key in changed:
            differences.append('{} was {} and is {}.'.format(key, *changed[key]))


def _check_optimizer(runner: Runner, state: dict[str, Any], refuse: Refuse, differences: list[str]) -> None:
    optimizer: Optimizer = runner.optim_wrapper.optimizer
    groups, own = state.get('param_groups'), optimizer.param_groups
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        refuse('its state of the optimizer is not as it was saved')
    sizes = [len(group.get('params', ())) for group in groups], [len(group['params']) for group in own]
    # Parameters of a sharded model are counted differently.
    if len(groups) != len(own) or (isinstance(runner, Runner) and sizes[0] != sizes[1]):
        refuse(f'its optimizer has groups of {sizes[0]} parameters, and that of the config of {sizes[1]}')
    if isinstance(runner, Runner):
        _check_moments(optimizer, state.get('state'), refuse)
    # Boolean options, which new versions of PyTorch add, do not tell the kind of optimizer.
    needed = {key for key, value in optimizer.defaults.items() if not isinstance(value, (bool, type(None)))}
    kept = {}
    for group, given in zip(own, groups, strict=True):
        if missing := sorted(needed - given.keys()):
            refuse(f'its optimizer has no {missing[0]}, as {type(optimizer).__name__} of the config has')
        for key in sorted(group.keys() & given.keys() - _IMPLEMENTATION):
            # Values that a schedule changes have their initial value next to them.
            if f'initial_{key}' not in group and str(group[key]) != str(given[key]):
                kept[key.removeprefix('initial_'), str(group[key]), str(given[key])] = None
    for key, ours, theirs in kept:
        differences.append(
            f'{key} of the optimizer is {ours} in the config; training keeps {theirs} of the checkpoint.'
        )


def _check_moments(optimizer: Optimizer, moments: Any, refuse: Refuse) -> None:
    """Refuse running averages of gradients whose shapes differ from those of their parameters."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group['params']]
    if not isinstance(moments, dict) or not all(isinstance(each, dict) for each in moments.values()):
        refuse('its state of the optimizer is not as it was saved')
    for place, each in moments.items():
        if not isinstance(place, int) or not 0 <= place < len(parameters):
            refuse('its optimizer has the state of a parameter that the model has not')
        for name in each.keys() & {'exp_avg', 'exp_avg_sq', 'max_exp_avg_sq', 'momentum_buffer', 'square_avg'}:
            shape = getattr(each[name], 'shape', None)
            if each[name] is not None and shape != parameters[place].shape:
                refuse(f'its optimizer has {name} of shape {shape} for a parameter of {parameters[place].shape}')


def _check_schedules(schedules: list[Any], states: list[Any], refuse: Refuse, differences: list[str]) -> None:
    if not isinstance(states, list) or not all(isinstance(state, dict) for state in states):
        refuse('its state of the parameter schedule is not as it was saved')
    if len(schedules) != len(states):
        refuse(f'it has {len(states)} parameter schedules, and the config has {len(schedules)}')
    for place, (schedule, state) in enumerate(zip(schedules, states, strict=True)):
        kind = type(schedule).__name__
        configured = set().union(*(inspect.signature(base.__init__).parameters for base in type(schedule).__mro__[:-1]))
        own = schedule.state_dict()
        for key in sorted(own.keys() & configured - {'last_step', 'verbose'}):
            if callable(own[key]):
                continue
            if key not in state:
                refuse(f'its parameter schedule {place} has no {key}: it is of another kind than {kind} of the config')
            if own[key] != state[key]:
                differences.append(
                    f'{key} of parameter schedule {place} ({kind}) is {own[key]} in the config; training keeps '
                    f'{state[key]} of the checkpoint.'
                )
