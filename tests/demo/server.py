"""Run ``tools/demo.py`` in a process of its own, with a home folder and a folder for temporary files of its own."""

import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
LIMIT = 180


class Server:
    """A running page: its URL, its process, and the folders that it may write to."""

    def __init__(self, folder, *arguments):
        self.home, self.temporary, self.log = (folder / name for name in ('home', 'temporary', 'log.txt'))
        self.home.mkdir()
        self.temporary.mkdir()
        environment = {
            **os.environ,
            **dict(PYTHONPATH=str(REPOSITORY), OMP_NUM_THREADS='1', PYTHONDONTWRITEBYTECODE='1'),
            **dict(HOME=str(self.home), TMPDIR=str(self.temporary)),
        }
        with self.log.open('w') as log:
            self.process = subprocess.Popen(
                [sys.executable, REPOSITORY / 'tools/demo.py', *map(str, arguments)],
                cwd=self.home,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # The test process may ignore the signal, as a command in the background of a script does.
                preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
            )
        self.url = self._wait()

    def _wait(self):
        end = time.monotonic() + LIMIT
        while time.monotonic() < end and self.process.poll() is None:
            found = re.search(r'open (http://\S+)', self.log.read_text())
            if found:
                return found[1]
            time.sleep(0.1)
        self.process.kill()
        raise AssertionError(f'the page did not start: {self.log.read_text()}')

    def stop(self, number):
        """Send a signal, and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(LIMIT)
