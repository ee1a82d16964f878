"""Run the experiments behind a table, each step in a separate process and only once.

A *definition* describes an experiment as plain data::

    dict(
        config='configs/rescaps/mnist.py',  # what is trained
        options=[  # changes of it, one after another
            'configs/_base_/datasets/mnist.py',  # a config, whose fields replace those before
            dict(train_cfg=dict(max_epochs=2)),  # a dictionary, merged into the config
        ],
        tests=dict(novel=[...]),  # how each test differs from the trained config; default: one, unchanged
        measures=dict(svm=dict(command=['tools/transfer_svm.py', '{config}', '{checkpoint}'], result='{out}/x.json')),
        packages=dict(sklearn='pointcloud'),  # packages that measures need, and the extras that bring them
    )

A *run* is an experiment with a seed. Its folder is named after a digest of the complete definition: a changed one
gets another folder, and tables that share an experiment share its runs. ``result.json``, which is written
last, marks a run as done.
"""

import fcntl
import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device

from rescaps_plugin.analysis.machine import describe_machine
from rescaps_plugin.cli.config import DATALOADERS, load_config
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.extras import import_extra
from rescaps_plugin.cli.main import ROOT
from rescaps_plugin.cli.outputs import write_whole
from rescaps_plugin.training.work_dir import last_checkpoint

FIELDS = ('config', 'options', 'tests', 'measures', 'packages')


class RunError(UserError):
    """A run whose training, test or measurement failed, or that is locked by another process."""


def change_config(cfg: Config, options: Sequence[str | dict]) -> Config:
    """Change a config.

    Args:
        cfg: The config; it is not modified.
        options: Paths of configs below the repository, whose top-level fields replace those of the config, and
            dictionaries, which are merged into it.

    Returns:
        The changed config.

    Raises:
        ConfigError: A config does not exist.
    """
    cfg = Config(cfg.to_dict(), filename=cfg.filename)
    for option in options:
        if isinstance(option, str):
            option = load_config(str(ROOT / option)).to_dict()
            for key in option:
                cfg.pop(key, None)
        cfg.merge_from_dict(dict(option))
    return cfg


def describe_config(config: Config) -> dict[str, Any]:
    """Return the contents of a config that results depend on, the same on every machine.

    Args:
        config: The config, whose dataloaders pin memory if the machine that read it has a GPU.

    Returns:
        Its contents, with ``pin_memory`` off.
    """
    contents = config.to_dict()
    for name in DATALOADERS:
        if 'pin_memory' in (contents.get(name) or {}):
            contents[name]['pin_memory'] = False
    return contents


def digest(contents: Any) -> str:
    """Return a digest of plain data, such as :func:`describe_config` returns."""
    return hashlib.sha256(json.dumps(contents, sort_keys=True, default=str).encode()).hexdigest()[:10]


class Experiment:
    """A training and its measurements.

    Args:
        name: Name, the prefix of its folders.
        definition: The definition, see the module's docstring.

    Raises:
        UserError: If a field of the definition is unknown, or there is no config.
    """

    def __init__(self, name: str, definition: dict[str, Any]) -> None:
        unknown = set(definition) - set(FIELDS)
        if unknown or 'config' not in definition:
            raise UserError(
                f'experiment {name}: a definition has a config and may have {", ".join(FIELDS[1:])}; this one has '
                f'{", ".join(definition) or "nothing"}.'
            )
        self.name = name
        self.config = change_config(load_config(str(ROOT / definition['config'])), definition.get('options', ()))
        measured = dict(custom_hooks=[*(self.config.get('custom_hooks') or []), dict(type='CostHook')])
        imports = self.config.get('custom_imports') or dict(imports=[])
        measured['custom_imports'] = dict(imports, imports=[*imports['imports'], 'rescaps_plugin.analysis.cost'])
        self.config.merge_from_dict(measured)
        tests = definition.get('tests') or dict(test=())
        self.tests = {test: change_config(self.config, options) for test, options in tests.items()}
        self.measures = dict(definition.get('measures') or {})
        self.packages = dict(definition.get('packages') or {})

    def check_packages(self) -> None:
        """Check, before the training, that the packages which its measures need are installed.

        Raises:
            UserError: A package is missing; the message says how to install it.
        """
        for package, extra in self.packages.items():
            import_extra(package, extra)

    @property
    def digest(self) -> str:
        """Digest of what is trained, tested and measured."""
        tests = {name: describe_config(config) for name, config in self.tests.items()}
        return digest([describe_config(self.config), tests, self.measures])

    def find_runs(self, seeds: int, folder: Path) -> list['Run']:
        """Return the runs of the first seeds, and those of other seeds that are done, in the order of the seeds.

        Args:
            seeds: Number of the first seeds.
            folder: Folder of all runs.
        """
        done = [path.parent.name[4:] for path in folder.glob(f'{self.name}-{self.digest}/seed*/result.json')]
        numbers = {*range(seeds), *(int(number) for number in done if number.isdecimal())}
        return [Run(self, seed, folder) for seed in sorted(numbers)]


class Run:
    """An experiment with a seed, in a separate folder.

    Args:
        experiment: The experiment.
        seed: Seed of the training.
        folder: Folder of all runs.
    """

    def __init__(self, experiment: Experiment, seed: int, folder: Path) -> None:
        self.experiment = experiment
        self.seed = seed
        self.folder = folder / f'{experiment.name}-{experiment.digest}' / f'seed{seed}'
        self.commands: list[str] = []

    @property
    def name(self) -> str:
        """The experiment and the seed, for messages."""
        return f'{self.experiment.name}, seed {self.seed}'

    def result(self) -> dict[str, Any] | None:
        """Return the result of the run; None where it is not done.

        Fields: ``experiment``, ``digest``, ``seed``; ``tests`` and ``measures`` with the result of each; ``cost``, see
        :class:`~rescaps_plugin.analysis.cost.CostHook`; ``commands``, ``machine`` and ``date``.
        """
        path = self.folder / 'result.json'
        return json.loads(path.read_text(encoding='utf-8')) if path.is_file() else None

    @property
    def state(self) -> str:
        """``'done'``, ``'begun'`` or ``'to do'``."""
        if (self.folder / 'result.json').is_file():
            return 'done'
        return 'begun' if self.folder.is_dir() else 'to do'

    def execute(self) -> dict[str, Any]:
        """Run the steps that are not done yet.

        Returns:
            The result, as of :meth:`result`.

        Raises:
            RunError: A step failed, or another process works on this run.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock():
            result = self.result()
            if result is None:
                result = self._execute()
                write_whole(self.folder / 'result.json', json.dumps(result, indent=2).encode())
            return result

    def _execute(self) -> dict[str, Any]:
        config = self._save('config.py', self.experiment.config)
        command = ['tools/train.py', config, '--work-dir', self.folder, '--seed', self.seed, '--resume']
        self._do('trained', [*command, '--no-validate'])
        checkpoint = Path(self.folder, Path(last_checkpoint(self.folder)).name)
        tests, costs = {}, {}
        for name, changed in self.experiment.tests.items():
            config = self._save(f'{name}.py', changed)
            out = self.folder / name
            metrics = out / 'metrics.json'
            command = [
                'tools/test.py',
                config,
                checkpoint,
                '--work-dir',
                out,
                '--out',
                metrics,
                '--out-item',
                'metrics',
            ]
            self._do(name, command)
            tests[name] = json.loads(metrics.read_text(encoding='utf-8'))
            costs[name] = json.loads((out / 'cost.json').read_text(encoding='utf-8'))
        measures = {}
        for name, measure in self.experiment.measures.items():
            places = dict(config=self.folder / 'config.py', checkpoint=checkpoint, out=self.folder / name)
            self._do(name, [part.format(**places) for part in measure['command']])
            path = Path(measure['result'].format(**places))
            measures[name] = json.loads(path.read_text(encoding='utf-8'))
        device = 'cuda' if 'cuda' in get_device() else 'cpu'
        return dict(
            experiment=self.experiment.name,
            digest=self.experiment.digest,
            seed=self.seed,
            tests=tests,
            measures=measures,
            cost=next(iter(costs.values())),
            commands=self.commands,
            machine=describe_machine(device, torch.get_num_threads()),
            date=datetime.now().astimezone().isoformat(timespec='seconds'),
        )

    def _save(self, name: str, config: Config) -> Path:
        path = self.folder / name
        write_whole(path, config.pretty_text.encode())
        return path

    def _do(self, step: str, command: Sequence[Any]) -> None:
        """Run a tool, unless it has already finished."""
        words = [str(word) for word in command]
        self.commands.append(shlex.join(['python', *words]))
        done = self.folder / f'{step}.done'
        if done.exists():
            return
        log = self.folder / f'{step}.log'
        with log.open('a', encoding='utf-8') as output:
            status = _call([sys.executable, str(ROOT / words[0]), *words[1:]], output)
        if status != 0:
            lines = log.read_text(encoding='utf-8', errors='replace').strip().splitlines()
            raise RunError(f'{self.name}: {words[0]} failed, see {log}: {lines[-1] if lines else ""}')
        done.touch()

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Lock the run against other processes, as long as a step of it runs, even if this process is killed."""
        with (self.folder / 'lock').open('w') as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RunError(f'{self.name}: its folder {self.folder} is locked by another process.') from error
            os.set_inheritable(lock.fileno(), True)
            yield


def _call(command: Sequence[str], output: Any) -> int:
    """Run a command and return its exit status; SIGTERM ends it as well as this process."""

    def end(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    process = None
    try:
        # Open files are inherited, so that the lock holds as long as the command runs.
        process = subprocess.Popen(command, stdout=output, stderr=output, close_fds=False)
        return process.wait()
    finally:
        if process is not None and process.poll() is None:
            process.terminate()
            process.wait()
        signal.signal(signal.SIGTERM, before)
