"""Report errors that a user can fix in one line on stderr, with an exit code and without a traceback."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pickle import UnpicklingError
from urllib.error import URLError

from rescaps_plugin.cli.errors import UserError, explain_unknown_type
from rescaps_plugin.cli.tables import show

# 128 and the number of the signal, as shells count.
INTERRUPTED = 130
LOST_PEER = r'Connection (closed|reset) by peer|gloo/transport|NCCL (communicator|error)|Timed out waiting'


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn what the user or the machine is to blame for inside the block into one line on stderr and an exit code.

    The code is 1, and 130 after Ctrl-C. These count as such; every other exception keeps its traceback: a mistake of
    the user, a file that is missing or cannot be written, a failed download, a checkpoint that PyTorch refuses to
    unpickle, a type that no registry has, the end of a worker of a data loader or of another process of the job, a
    missing package: around the imports of a tool it names the extra that brings it.

    What the encoding of stdout and stderr lacks is printed as an escape, and is no error.

    Raises:
        SystemExit: On any of these.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')
    try:
        with _interrupts():
            yield
    except KeyboardInterrupt:
        print('interrupted: what is saved is whole, and tools/train.py goes on from it with --resume.', file=sys.stderr)
        sys.exit(INTERRUPTED)
    except ImportError as error:
        # Here, for it raises the errors of this module.
        from rescaps_plugin.cli.extras import explain_import_error

        missing = explain_import_error(error)
        if missing is None:
            raise
        sys.exit(f'error: {missing}')
    except KeyError as error:
        unknown = explain_unknown_type(str(error))
        if unknown is None:
            raise
        sys.exit(f'error: {unknown}')
    except URLError as error:
        sys.exit(
            f'error: what is not on this machine could not be downloaded: {error.reason}. Get the data set or '
            'checkpoint elsewhere, and put it where the config says (data_root, load_from).'
        )
    except (UserError, OSError, UnpicklingError) as error:
        lines = _without_worker_traceback(str(error)).split('\n')
        sys.exit('\n'.join(['error: ' + show(lines[0]), *map(show, lines[1:])]))
    except RuntimeError as error:
        message = str(error)
        if 'DataLoader worker' in message and 'Caught' not in message:
            sys.exit(
                f'error: {message.strip()} Where memory ran out, less of it is taken by a smaller num_workers of the '
                'data loader. Checkpoints saved so far are whole.'
            )
        if re.search(LOST_PEER, message):
            sys.exit(
                f'error: another process of this job is gone; its own message says why. Here: {message.splitlines()[0]}'
            )
        raise


@contextmanager
def _interrupts() -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` for what Ctrl-C causes: a file that was being written, for one, cannot be closed."""
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, KeyboardInterrupt):
                raise KeyboardInterrupt from error
            cause = cause.__cause__ or cause.__context__
        raise


def _without_worker_traceback(message: str) -> str:
    """Return the last line of what a worker of a data loader wrote in place of its error's message."""
    return message.strip().splitlines()[-1] if message.startswith('Caught ') else message
