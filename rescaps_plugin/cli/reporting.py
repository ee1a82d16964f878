"""Report errors that a user can fix by a line on stderr and an exit code, without a traceback."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pickle import UnpicklingError
from urllib.error import URLError

from rescaps_plugin.cli.errors import UserError, explain_unknown_type
from rescaps_plugin.cli.extras import explain_import_error
from rescaps_plugin.cli.tables import show

# 128 + signal number, as in shells.
INTERRUPTED = 130
LOST_PEER = r'Connection (closed|reset) by peer|gloo/transport|NCCL (communicator|error)|Timed out waiting'


@contextmanager
def user_errors() -> Iterator[None]:
    """Convert errors of the user or the machine inside the block to one line on stderr and an exit code.

    The exit code is 1, or 130 after Ctrl-C. These errors are: :class:`UserError`, a file that is missing or cannot be
    written, a failed download, a checkpoint that PyTorch refuses to unpickle, an unregistered type, the death of a data
    loader worker or of another process of the job, and a missing package, for which the message names the extra that
    installs it. All other exceptions keep their traceback.

    Characters outside the encoding of stdout and stderr are printed as escapes.

    Raises:
        SystemExit: On any of these errors.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')
    try:
        with _interrupts():
            yield
    except KeyboardInterrupt:
        print('interrupted: saved checkpoints are complete; continue a training with --resume.', file=sys.stderr)
        sys.exit(INTERRUPTED)
    except ImportError as error:
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
            f'error: download failed: {error.reason}. Get the data set or checkpoint elsewhere, and put it where the '
            'config expects it (data_root, load_from).'
        )
    except (UserError, OSError, UnpicklingError) as error:
        lines = _without_worker_traceback(str(error)).split('\n')
        sys.exit('\n'.join(['error: ' + show(lines[0]), *map(show, lines[1:])]))
    except RuntimeError as error:
        message = str(error)
        if 'DataLoader worker' in message and 'Caught' not in message:
            sys.exit(
                f'error: {message.strip()} If memory ran out, reduce num_workers of the data loader. Saved checkpoints '
                'are complete.'
            )
        if re.search(LOST_PEER, message):
            sys.exit(
                f'error: another process of this job ended; see its error message. Here: {message.splitlines()[0]}'
            )
        raise


@contextmanager
def _interrupts() -> Iterator[None]:
    """Convert errors caused by ``KeyboardInterrupt`` to it, such as a file that cannot be closed during a write."""
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
    """Return the message of an error that a data loader worker reported with its traceback, else the message itself."""
    return message.strip().splitlines()[-1] if message.startswith('Caught ') else message
