"""Learning rate schedule of ICON."""

from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import INF
from mmengine.registry import PARAM_SCHEDULERS

from rescaps_plugin.training.schedules import BoundedParamScheduler


class _TriangularParamScheduler(BoundedParamScheduler):
    """Scheduler that raises a parameter linearly to its base value and lowers it again, over ``end - begin`` steps."""

    def __init__(self, optimizer, param_name: str, begin: int = 0, end: int = INF, **kwargs) -> None:
        self.steps = end - begin
        super().__init__(optimizer, param_name, begin, end, **kwargs)

    def _get_value(self) -> list[float]:
        factor = 1 - abs(2 * (self.last_step + 1) / (self.steps + 1) - 1)
        return [base * factor for base in self.base_values]


@PARAM_SCHEDULERS.register_module()
class TriangularLR(LRSchedulerMixin, _TriangularParamScheduler):
    """Learning rate ``lr (1 - |2 (e + 1) / (E + 1) - 1|)`` at step ``e`` of ``E`` (Zhuge et al., TPAMI 2022).

    Steps are epochs, or iterations with ``by_epoch=False`` or ``convert_to_iter_based=True``.

    Args:
        optimizer: Optimizer, or mmengine's optimizer wrapper.
        begin: First step of the schedule. Defaults to 0.
        end: First step after the schedule (exclusive). Must be given.
        **kwargs: ``by_epoch``, ``last_step``, ``verbose`` as in mmengine's schedulers.

    Raises:
        ValueError: ``end`` is not given.
    """
