"""Distributed training, including on CPUs."""

from datetime import timedelta
from typing import Any

import torch.distributed as dist
from mmengine._strategy import FSDPStrategy
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import MODEL_WRAPPERS, STRATEGIES
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.nn.parallel import DistributedDataParallel

from rescaps_plugin.cli.errors import UserError


@STRATEGIES.register_module()
class ResumableFSDPStrategy(FSDPStrategy):
    """MMEngine's ``FSDPStrategy`` that can resume with current releases of PyTorch, and saves whole checkpoints.

    MMEngine passes the optimizer's state by position, where current releases expect the model.

    Args:
        state_dict_cfg: ``'full'``, or MMEngine's dictionary for it. MMEngine's default, a folder of one file for every
            process, is refused: such a checkpoint can only be read by the same number of processes.
        **kwargs: As MMEngine's.

    Raises:
        UserError: ``state_dict_cfg`` is another.
    """

    def __init__(self, *, state_dict_cfg: str | dict[str, Any] = 'local', **kwargs) -> None:
        super().__init__(state_dict_cfg=state_dict_cfg, **kwargs)
        if not self._is_full_state_dict():
            raise UserError(
                "strategy.state_dict_cfg must be 'full': checkpoints in parts cannot be resumed or tested, got "
                f'{state_dict_cfg!r}.'
            )

    def load_optim_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the state of the optimizer from a checkpoint."""
        state = FullyShardedDataParallel.optim_state_dict_to_load(
            model=self.model, optim=self.optim_wrapper.optimizer, optim_state_dict=state_dict
        )
        self.optim_wrapper.load_state_dict(state)


def prepare_cpu_ddp(cfg: Config) -> None:
    """Make ``launcher='pytorch'`` work on a CPU: MMEngine would select a CUDA device with any backend.

    Joins a ``gloo`` process group, which the runner then finds initialised, and has the model wrapped without
    ``device_ids``, or sharded on the CPU where the config shards it. Batch normalisations are not synchronised, which
    PyTorch supports only on accelerators. With an accelerator, or with another launcher, nothing changes.

    Args:
        cfg: The runner's config; ``model_wrapper_cfg``, ``sync_bn`` and ``strategy`` are changed in place.
    """
    if cfg.get('launcher') != 'pytorch' or get_device() != 'cpu':
        return
    if not dist.is_initialized():
        timeout = cfg.get('env_cfg', {}).get('dist_cfg', {}).get('timeout')
        dist.init_process_group('gloo', timeout=None if timeout is None else timedelta(seconds=timeout))
    if cfg.get('sync_bn') is not None:
        cfg.sync_bn = None
    strategy = cfg.get('strategy')
    if strategy is not None and strategy.get('type') in ('FSDPStrategy', 'ResumableFSDPStrategy'):
        strategy.model_wrapper = {'device_id': 'cpu', **(strategy.get('model_wrapper') or {})}
        return
    if cfg.get('model_wrapper_cfg') is None:
        # The default of MMEngine.
        cfg.model_wrapper_cfg = dict(
            broadcast_buffers=False, find_unused_parameters=cfg.get('find_unused_parameters', False)
        )
    wrapper = MODEL_WRAPPERS.get(cfg.model_wrapper_cfg.setdefault('type', 'MMDistributedDataParallel'))
    if issubclass(wrapper, DistributedDataParallel):
        cfg.model_wrapper_cfg.device_ids = None
