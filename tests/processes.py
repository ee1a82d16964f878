"""Run tools in processes that can be killed at a chosen time.

They are forked from a process that has imported everything, so that imports do not cost time in each of them.
"""

import errno
import importlib.util
import multiprocessing
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
CONTEXT = multiprocessing.get_context('forkserver')
# Imported first, as in the tools: it provides the stand-in that mmcv-lite needs for the imports below.
CONTEXT.set_forkserver_preload(['rescaps_plugin', 'rescaps_plugin.classification', 'rescaps_plugin.pointcloud'])
LIMIT = 300


class Finished:
    """Result of a process: its exit code, negative for a signal, and its output."""

    def __init__(self, code, output):
        self.code = code
        self.output = output


def start(tool, *arguments, folder, log, prepare=None, **environment):
    """Start ``python tools/<tool>.py ...`` in a folder.

    ``prepare`` is the name of a function of this module and its arguments, which the process calls first.
    """
    call = (tool, [str(argument) for argument in arguments], str(folder), str(log), prepare, environment)
    # Run by path, as other packages have modules of the same name.
    process = CONTEXT.Process(target=runpy.run_path, args=(__file__, dict(CALL=call), '__process__'))
    process.start()
    return process


def run(tool, *arguments, folder, prepare=None, **environment):
    """Run a tool and wait for it."""
    log = Path(folder, 'output.txt')
    return wait(start(tool, *arguments, folder=folder, log=log, prepare=prepare, **environment), log)


def run_alone(tool, *arguments, folder, prepare=None, **environment):
    """Run a tool in a separate interpreter and wait for it.

    CUDA cannot be used in a fork of a process that has looked for a GPU, as imports do.
    """
    log = Path(folder, 'output.txt')
    call = (tool, [str(argument) for argument in arguments], str(folder), str(log), prepare, environment)
    code = f'import runpy; runpy.run_path({__file__!r}, dict(CALL={call!r}), {"__process__"!r})'
    paths = [str(REPOSITORY), os.environ.get('PYTHONPATH')]
    process = subprocess.run(
        [sys.executable, '-c', code],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, paths))},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    return Finished(process.returncode, (log.read_text() if log.is_file() else '') + process.stderr)


def wait(process, log):
    """Wait for a process to end."""
    process.join(LIMIT)
    if process.is_alive():
        process.kill()
        raise TimeoutError(f'{LIMIT} s and no end: {Path(log).read_text()[-2000:]}')
    return Finished(process.exitcode, Path(log).read_text())


def run_together(tool, *arguments, folder, processes=2, prepare=None):
    """Run a tool in several ranks, as torchrun starts them, and return the result of each."""
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        port = listener.getsockname()[1]
    started = []
    for rank in range(processes):
        names = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=processes, MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
        log = Path(folder, f'output_{rank}.txt')
        process = start(
            tool,
            *arguments,
            '--launcher',
            'pytorch',
            folder=folder,
            log=log,
            prepare=prepare,
            **{name: str(value) for name, value in names.items()},
        )
        started.append((process, log))
    return [wait(*each) for each in started]


def _run(tool, arguments, folder, log, prepare, environment):
    with open(log, 'w') as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout, sys.stderr = (os.fdopen(number, 'w', buffering=1) for number in (1, 2))
    os.chdir(folder)
    sys.path.insert(0, folder)
    os.environ.update(environment)
    # The test process may ignore signals, for instance under nohup, and its children inherit this.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    import torch

    torch.set_num_threads(1)
    if prepare is not None:
        name, *details = prepare
        globals()[name](*details)
    spec = importlib.util.spec_from_file_location(f'tools_{tool}', REPOSITORY / 'tools' / f'{tool}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    try:
        module.main(arguments)
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    else:
        code = 0
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def signal_at(moment, detail, number=signal.SIGKILL):
    """Send this process a signal at a point of its training.

    ``moment`` is ``'iteration'`` or ``'validation'``, with the number of the call as ``detail``, or ``'writing'``,
    ``'written'`` or ``'replaced'`` (half of a file is written, all of it under a temporary name, or all of it in its
    place), with a part of the file name as ``detail``.
    """
    from mmengine.runner import ValLoop

    from rescaps_plugin.training import resumable_loops

    def patch(owner, name, before=None, after=None):
        original = getattr(owner, name)

        def patched(*args, **kwargs):
            if before:
                before(*args)
            result = original(*args, **kwargs)
            if after:
                after(*args)
            return result

        setattr(owner, name, patched)

    calls = iter(range(1, 10**6))

    def count(*args):
        if next(calls) == detail:
            os.kill(os.getpid(), number)

    def halve(descriptor):
        if detail in os.readlink(f'/proc/self/fd/{descriptor}'):
            os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
            os.kill(os.getpid(), number)

    def strike(source, target):
        if detail in str(target):
            os.kill(os.getpid(), number)

    if moment == 'iteration':
        patch(resumable_loops._PlacedLoop, 'run_iter', before=count)
    elif moment == 'validation':
        patch(ValLoop, 'run_iter', before=count)
    elif moment == 'writing':
        patch(os, 'fsync', before=halve)
    else:
        patch(os, 'replace', **{dict(written='before', replaced='after')[moment]: strike})


def signal_group_at(*details):
    """As :func:`signal_at`, but also sent to the workers of the process, as by a terminal or scheduler."""
    os.setpgid(0, 0)
    kill = os.kill

    def kill_group(process, number):
        if process == os.getpid() and number:
            os.killpg(0, number)
        else:
            kill(process, number)

    os.kill = kill_group
    signal_at(*details)


def signal_rank(rank, *details):
    """As :func:`signal_at`, in one of several ranks."""
    if os.environ['RANK'] == str(rank):
        signal_at(*details)


def signal_with_nohup(*details):
    """As :func:`signal_at`, in a process that ignores SIGHUP."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal_at(*details)


def wait_at(iteration, name):
    """Wait at an iteration until a file exists; ``<name>.here`` signals that it is waiting."""
    from rescaps_plugin.training import resumable_loops

    train, calls = resumable_loops._PlacedLoop.run_iter, iter(range(1, 10**6))

    def waiting(self, *args):
        if next(calls) == iteration:
            Path(f'{name}.here').touch()
            while not Path(name).exists():
                time.sleep(0.05)
        train(self, *args)

    resumable_loops._PlacedLoop.run_iter = waiting


def break_input(index):
    """Set a sample of the digits to NaN."""
    from rescaps_plugin.classification.datasets import Digits

    load = Digits.prepare_data

    def broken(self, given):
        sample = load(self, given)
        if given == index:
            sample['inputs'] = sample['inputs'].float() * float('nan')
        return sample

    Digits.prepare_data = broken


def kill_worker():
    """Kill a data loader worker while it loads."""
    from mmengine.dataset import BaseDataset
    from torch.utils.data import get_worker_info

    load = BaseDataset.__getitem__

    def killed(self, index):
        if get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return load(self, index)

    BaseDataset.__getitem__ = killed


def fill_disk(name):
    """Simulate a full disk when a file is written."""
    synchronise = os.fsync

    def full(descriptor):
        if name in os.readlink(f'/proc/self/fd/{descriptor}'):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        synchronise(descriptor)

    os.fsync = full


def delete_folder(folder, iteration):
    """Delete a folder at an iteration."""
    from rescaps_plugin.training import resumable_loops

    train, calls = resumable_loops._PlacedLoop.run_iter, iter(range(1, 10**6))

    def deleting(self, *args):
        if next(calls) == iteration:
            shutil.rmtree(folder)
        train(self, *args)

    resumable_loops._PlacedLoop.run_iter = deleting


if __name__ == '__process__':
    _run(*CALL)  # noqa: F821
