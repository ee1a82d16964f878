"""Fixtures shared by all tests."""

import importlib.util
import os
import socket
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
from hypothesis import settings
from mmengine.logging import MessageHub
from mmengine.registry import DefaultScope

REPOSITORY = Path(__file__).parents[1]


def pytest_configure(config):
    """Let ART write its settings before several workers import it, which would read each other's half-written file."""
    is_worker = hasattr(config, 'workerinput')
    if not is_worker and importlib.util.find_spec('art') and not Path('~/.art/config.json').expanduser().exists():
        importlib.import_module('art.config')


# Reproducible examples without a time limit.
settings.register_profile('repeatable', derandomize=True, deadline=None)
settings.load_profile('repeatable')


@pytest.fixture(autouse=True)
def own_mmengine_state(monkeypatch):
    """Reset MMEngine's default scope and message hub, which a previous run in this process may have set."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', DefaultScope._instance_dict.copy())
    monkeypatch.setattr(MessageHub, '_instance_dict', OrderedDict())


@pytest.fixture
def offline(monkeypatch):
    """Refuse connections."""

    def refuse(*args):
        raise AssertionError(f'a connection to {args[1:]} was tried')

    monkeypatch.setattr(socket.socket, 'connect', refuse)


@pytest.fixture(scope='session')
def repository() -> Path:
    """Root folder of the repository."""
    return REPOSITORY


@pytest.fixture(scope='session')
def load_tool():
    """Import ``tools/<name>.py``, to call its ``main`` in this process: ``load_tool('predict').main([...])``."""

    def load(name):
        spec = importlib.util.spec_from_file_location(f'tools_{name}', REPOSITORY / 'tools' / f'{name}.py')
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def run_tool(tmp_path):
    """Run ``python tools/<name>.py ...`` in an empty folder, without input, and return the finished process."""

    def run(name, *arguments, stdin=subprocess.DEVNULL, **environment):
        return subprocess.run(
            [sys.executable, REPOSITORY / 'tools' / f'{name}.py', *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, 'PYTHONPATH': str(REPOSITORY), 'OMP_NUM_THREADS': '1', **environment},
            stdin=stdin,
            capture_output=True,
            text=True,
        )

    return run
