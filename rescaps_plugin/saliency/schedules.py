"""The learning rate of ICON's training."""

from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import INF, _ParamScheduler
from mmengine.registry import PARAM_SCHEDULERS


class _TriangularParamScheduler(_ParamScheduler):
    """A parameter that rises from almost nothing to its value and falls again, linearly, over ``end - begin`` steps."""

    def __init__(self, optimizer, param_name: str, begin: int = 0, end: int = INF, **kwargs) -> None:
        if end >= INF:
            raise ValueError('TriangularLR rises and falls over a training: end must be given')
        self.steps = end - begin
        super().__init__(optimizer, param_name=param_name, begin=begin, end=end, **kwargs)

    @classmethod
    def build_iter_from_epoch(cls, *args, begin=0, end=INF, by_epoch=True, epoch_length=None, **kwargs):
        """Build a scheduler that steps by iteration from arguments in epochs."""
        if not by_epoch or not epoch_length:
            raise ValueError('convert_to_iter_based takes by_epoch=True and a positive epoch_length')
        return cls(*args, begin=int(begin * epoch_length), end=int(end * epoch_length), by_epoch=False, **kwargs)

    def _get_value(self) -> list[float]:
        factor = 1 - abs(2 * (self.last_step + 1) / (self.steps + 1) - 1)
        return [base * factor for base in self.base_values]


@PARAM_SCHEDULERS.register_module()
class TriangularLR(LRSchedulerMixin, _TriangularParamScheduler):
    """Learning rate ``lr (1 - |2 (e + 1) / (E + 1) - 1|)`` at step ``e`` of ``E`` (Zhuge et al., TPAMI 2022).

    Steps are epochs, or iterations with ``by_epoch=False`` or ``convert_to_iter_based=True``.

    Args:
        optimizer: Optimizer, or mmengine's wrapper of one.
        begin: Step to begin at. Defaults to 0.
        end: Step to end at, which comes no more; required.
        **kwargs: ``by_epoch``, ``last_step``, ``verbose`` as in mmengine's schedulers.

    Raises:
        ValueError: If ``end`` is not given.
    """
