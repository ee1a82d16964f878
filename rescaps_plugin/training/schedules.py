"""Learning rate schedules that adapt to the length of the training."""

import math

from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import INF, _ParamScheduler
from mmengine.registry import PARAM_SCHEDULERS


class BoundedParamScheduler(_ParamScheduler):
    """Base of schedulers whose values depend on where they end, which MMEngine sets to the length of the training.

    Args:
        optimizer: Optimizer, or mmengine's wrapper of one.
        param_name: Name of the parameter, such as ``'lr'``.
        begin: First step. Defaults to 0.
        end: First step after the schedule (exclusive). Must be given.
        **kwargs: As in mmengine's schedulers.

    Raises:
        ValueError: If ``end`` is not given.
    """

    def __init__(self, optimizer, param_name: str, begin: int = 0, end: int = INF, **kwargs) -> None:
        if end >= INF:
            raise ValueError(f'{type(self).__name__} rises and falls over a training: end must be given')
        super().__init__(optimizer, param_name=param_name, begin=begin, end=end, **kwargs)

    @classmethod
    def build_iter_from_epoch(cls, *args, begin=0, end=INF, by_epoch=True, epoch_length=None, **kwargs):
        """Build a scheduler that steps by iteration from arguments in epochs."""
        if not by_epoch or not epoch_length:
            raise ValueError('convert_to_iter_based takes by_epoch=True and a positive epoch_length')
        return cls(*args, begin=int(begin * epoch_length), end=int(end * epoch_length), by_epoch=False, **kwargs)


class _CycleParamScheduler(BoundedParamScheduler):
    """A parameter that rises linearly for a part of ``end - begin`` steps and falls to 0 by a cosine over the rest."""

    def __init__(
        self,
        optimizer,
        param_name: str,
        start_factor: float = 0.04,
        rise: float = 0.3,
        begin: int = 0,
        end: int = INF,
        **kwargs,
    ) -> None:
        if not 0 <= rise < 1:
            raise ValueError(f'rise must be at least 0 and below 1, got {rise!r}')
        self.start_factor = start_factor
        # Rounded first, so that 0.3 of 10 epochs of 10 steps is 30 despite floating-point errors.
        self.rising_steps = int(round(rise * (end - begin), 6))
        self.falling_steps = end - begin - self.rising_steps
        super().__init__(optimizer, param_name, begin, end, **kwargs)

    def _get_value(self) -> list[float]:
        step = self.last_step
        if step < self.rising_steps:
            factor = self.start_factor + (1 - self.start_factor) * step / max(self.rising_steps - 1, 1)
        else:
            factor = (1 + math.cos(math.pi * (step - self.rising_steps) / self.falling_steps)) / 2
        return [base * factor for base in self.base_values]


@PARAM_SCHEDULERS.register_module()
class CycleLR(LRSchedulerMixin, _CycleParamScheduler):
    """Learning rate that rises linearly from ``start_factor lr`` to ``lr``, then falls to 0 by a cosine.

    It is MMEngine's ``LinearLR`` over the first part of the steps and ``CosineAnnealingLR`` over the rest; the boundary
    between them moves with ``end``. MMEngine sets ``end`` to the length of the training where a config leaves it out,
    so that the schedule follows ``train_cfg.max_epochs``.

    Args:
        optimizer: Optimizer, or mmengine's wrapper of one.
        start_factor: Factor of the learning rate at the first step. Defaults to 0.04.
        rise: Part of the steps that it rises for, in [0, 1). Defaults to 0.3.
        begin: Step to begin at. Defaults to 0.
        end: First step after the schedule (exclusive). Defaults to the training's length.
        **kwargs: ``by_epoch``, ``last_step``, ``verbose`` as in mmengine's schedulers; ``convert_to_iter_based`` in a
            config.

    Raises:
        ValueError: If ``rise`` is out of range or ``end`` is not given outside a training.
    """
