"""Errors that are the user's to mend: the tools print their message, without a traceback."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pickle import UnpicklingError
from urllib.error import URLError


class UserError(Exception):
    """A mistake in what the user gave: a path, a flag, a config, a checkpoint. Its message says how to mend it."""


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn the user's mistakes inside the block into one line on stderr and exit code 1.

    Missing files and packages count as such; every other exception keeps its traceback. Around the imports of a tool it
    names the extra that brings what is missing.

    Raises:
        SystemExit: on a :class:`UserError`, a missing file or package, a failed download, or a checkpoint that PyTorch
            refuses to unpickle.
    """
    try:
        yield
    except (UserError, FileNotFoundError, UnpicklingError) as error:
        sys.exit(f'error: {error}')
    except ImportError as error:
        # Here, for it raises the errors of this module.
        from rescaps_plugin.engine.extras import explain_import_error

        missing = explain_import_error(error)
        if missing is None:
            raise
        sys.exit(f'error: {missing}')
    except URLError as error:
        sys.exit(
            f'error: what is not on this machine could not be downloaded: {error.reason}. Get the data set or '
            'checkpoint elsewhere, and put it where the config says (data_root, load_from).'
        )
