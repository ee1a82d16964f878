"""Measure whether the data loader or the network limits the training of a config."""

import math
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.runner import IterBasedTrainLoop, Runner

from rescaps_plugin.analysis.benchmark.measure import time_step
from rescaps_plugin.cli.config import load_config, require, set_work_dir
from rescaps_plugin.cli.config_errors import config_errors
from rescaps_plugin.training.runner import build_runner

# Options that PyTorch refuses without workers.
_WORKER_OPTIONS = ('persistent_workers', 'prefetch_factor', 'multiprocessing_context')


class LoaderSpeed(NamedTuple):
    """Speeds of the data loader and of the network in a training.

    Args:
        loading: Images per second of the data loader alone, by the number of workers; 0 is the main process.
        workers: The config's number of workers.
        batch_size: Images in a training step of one process.
        step: Seconds of a training step alone, with the copy of the batch to the device and the optimizer.
        device: Where it ran, ``'cpu'`` or ``'cuda'``.
    """

    loading: dict[int, float]
    workers: int
    batch_size: int
    step: float
    device: str

    @property
    def network(self) -> float:
        """Images per second of the training step alone."""
        return self.batch_size / self.step

    @property
    def limit(self) -> str:
        """The slower of the two over a batch: ``'loader'`` or ``'network'``."""
        return 'loader' if self.loading[self.workers] < self.network else 'network'

    @property
    def training(self) -> float:
        """Images per second that training can reach: workers load during the steps, the main process between them."""
        loader = self.loading[self.workers]
        return min(loader, self.network) if self.workers else 1 / (1 / loader + 1 / self.network)


def measure_loader(config: str, options: dict[str, Any] | None, work_dir: str, seconds: float) -> LoaderSpeed:
    """Measure the training data loader of a config, as ``tools/train.py`` builds it, and a training step.

    Args:
        config: Path of the config, or ``package::path``.
        options: Dotted keys and values that override the config's.
        work_dir: Folder for the logs.
        seconds: Time to spend, at least, on each measurement after it has warmed up.

    Returns:
        The speeds of the main process, of one worker and of the config's workers, and of a training step.

    Raises:
        ConfigError: If the config is incomplete or cannot be built.
        UserError: If there is no batch to load.
    """
    cfg = load_config(config, options)
    require(cfg, 'model', 'train_dataloader', 'train_cfg', 'optim_wrapper')
    set_work_dir(cfg, work_dir)
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.test_cfg = cfg.test_dataloader = cfg.test_evaluator = None
    cfg.log_level = 'WARNING'
    with config_errors(cfg):
        runner = build_runner(cfg)
        workers = cfg.train_dataloader.get('num_workers', 0)
        loading = {}
        for number in sorted({0, 1, workers}):
            batches = _load(runner, cfg, number)
            loading[number] = _images_per_second(
                batches, 1 + number * cfg.train_dataloader.get('prefetch_factor', 2), seconds
            )
            batch = next(batches)
            batches.close()
        step = _time_training_step(runner, batch, seconds)
    device = next(runner.model.parameters()).device.type
    return LoaderSpeed(loading, workers, _count(batch), step, device)


def _load(runner: Runner, cfg: Config, workers: int) -> Iterator[Any]:
    """Load batches with the given number of workers, epoch after epoch."""
    dataloader = dict(cfg.train_dataloader, num_workers=workers)
    if workers == 0:
        dataloader = {key: value for key, value in dataloader.items() if key not in _WORKER_OPTIONS}
    loop = runner.build_train_loop(dict(cfg.train_cfg, dataloader=dataloader))
    if isinstance(loop, IterBasedTrainLoop):
        while True:
            yield next(loop.dataloader_iterator)
    while True:
        yield from loop.dataloader


def _count(batch: Any) -> int:
    return len(next(iter(batch.values())) if isinstance(batch, dict) else batch[0])


def _images_per_second(batches: Iterator[Any], ahead: int, seconds: float) -> float:
    """Measure the speed of loading, without the batches that workers loaded before the clock starts."""
    for _ in range(ahead):
        next(batches)
    images, begin = 0, time.perf_counter()
    while (passed := time.perf_counter() - begin) < seconds or not images:
        images += _count(next(batches))
    return images / passed


def _time_training_step(runner: Runner, batch: Any, seconds: float) -> float:
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.optim_wrapper.initialize_count_status(runner.model, 0, 1)
    runner._maybe_compile('train_step')
    runner.model.train()
    device = next(runner.model.parameters()).device.type
    return time_step(lambda: runner.model.train_step(batch, optim_wrapper=runner.optim_wrapper), device, seconds)


def make_loader_page(config: str, speed: LoaderSpeed) -> str:
    """Write the speeds as Markdown: which of them is the limit, and in the last line ``N images/s``."""
    rows = [
        ('main process' if number == 0 else f'{number} worker{"s" if number > 1 else ""}', rate)
        for number, rate in speed.loading.items()
    ]
    lines = ['# Data loader', '', f'`{config}`, batch {speed.batch_size}', '', '| | images/s |', '| --- | --- |']
    for number, (name, rate) in zip(speed.loading, rows, strict=True):
        per_worker = f', {rate / number:.0f} a worker' if number > 1 else ''
        lines.append(f'| loader, {name}{per_worker}{" (the config)" if number == speed.workers else ""} | {rate:.0f} |')
    lines.append(f'| training step on {speed.device}, {1000 * speed.step:.1f} ms | {speed.network:.0f} |')
    enough = math.ceil(speed.network / speed.loading[1])
    lines += [
        '',
        f'The {speed.limit} is the limit: training reaches at most {speed.training:.0f} images/s. '
        f'{enough} worker{"s load" if enough > 1 else " loads"} as fast as the network trains, given as many cores.',
        '',
        f'{speed.loading[speed.workers]:.0f} images/s',
    ]
    return '\n'.join(lines) + '\n'
