"""Implementation of ``tools/demo.py``."""

import ipaddress
import logging
import os
import signal
import socket
import tempfile
import threading
from argparse import Namespace
from pathlib import Path
from typing import NoReturn

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.extras import import_extra

# Largest file to upload.
MAX_FILE_SIZE = '40mb'


def run(args: Namespace) -> None:
    """Serve the page until Ctrl-C or SIGTERM.

    All files, also those that libraries keep in the home folder, are written to a temporary folder, which is removed at
    the end.

    Args:
        args: Arguments of ``tools/demo.py``.

    Raises:
        UserError: Packages are missing, the port is taken or not allowed, or the device is not available.
    """
    _check_address(args.host, args.port)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix='rescaps-demo-') as home:
        # Before the imports, which read these.
        tempfile.tempdir = home
        folders = dict(GRADIO_TEMP_DIR=str(Path(home, 'files')), HOME=home, USERPROFILE=home, TMPDIR=home)
        os.environ.update(folders, GRADIO_ANALYTICS_ENABLED='False', HF_HUB_OFFLINE='1')
        try:
            _serve(args)
        except KeyboardInterrupt:
            print('stopped.')


def _check_address(host: str, port: int | None) -> None:
    """Check that a port can be listened on, before imports that take seconds; None is any port."""
    try:
        socket.create_server((host, port or 0), family=socket.AF_INET6 if ':' in host else socket.AF_INET).close()
    except (OSError, OverflowError) as error:
        where = f'--host {host}' if port is None else f'--host {host} --port {port}'
        reason = str(getattr(error, 'strerror', None) or error).rstrip('.')
        raise UserError(f'{where}: {reason}.') from error


def _is_local(host: str) -> bool:
    """Return whether only this machine can open an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == 'localhost'


def _serve(args: Namespace) -> None:
    for package in ('gradio', 'plotly', 'skimage'):
        import_extra(package, 'demo')
    import gradio
    from mmengine.device import get_device
    from starlette.requests import ClientDisconnect

    from rescaps_plugin.demo.models import Models
    from rescaps_plugin.demo.page import CSS, create_page, create_theme

    # A visitor who leaves while a drawing or a file is sent is no fault of the page.
    logging.getLogger('uvicorn.error').addFilter(
        lambda record: not (record.exc_info and isinstance(record.exc_info[1], ClientDisconnect))
    )

    async def refuse(url: str) -> NoReturn:
        raise gradio.Error('Only uploaded files are read, no addresses.', print_exception=False)

    # Gradio downloads an address that takes the place of an uploaded file, of any size.
    gradio.processing_utils.async_ssrf_protected_get = refuse
    page = create_page(Models(args.device or get_device()), local=_is_local(args.host))
    _, url, _ = page.launch(
        server_name=f'[{args.host}]' if ':' in args.host else args.host,
        server_port=args.port,
        share=False,
        prevent_thread_lock=True,
        quiet=True,
        show_error=True,
        ssr_mode=False,
        footer_links=[],
        max_file_size=MAX_FILE_SIZE,
        theme=create_theme(),
        css=CSS,
    )
    try:
        print(f'rescaps demo: open {url} in a browser. Ctrl-C ends it.', flush=True)
        threading.Event().wait()
    finally:
        page.close(verbose=False)
