"""``tools/demo.py`` as a process: address, port, end, and what it writes. tests/demo tests the page itself."""

import json
import os
import signal
import socket
import sys
import tempfile
import time
import urllib.parse
import urllib.request

import pytest

for package in ('gradio', 'plotly', 'skimage', 'mmpretrain', 'mmseg'):
    pytest.importorskip(package)

from tests.demo.server import Server  # noqa: E402


def test_help(run_tool):
    result = run_tool('demo', '--help')
    assert result.returncode == 0 and '--port' in result.stdout


@pytest.mark.parametrize('port', ['0', 'x'])
def test_bad_port_is_a_usage_error(load_tool, capsys, port):
    with pytest.raises(SystemExit) as error:
        load_tool('demo').main(['--port', port])
    assert error.value.code == 2 and 'argument --port' in capsys.readouterr().err


def test_busy_port_is_one_line(load_tool):
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        listener.listen()
        port = listener.getsockname()[1]
        message = rf'^error: --host 127.0.0.1 --port {port}: Address already in use.*[^.]\.$'
        with pytest.raises(SystemExit, match=message):
            load_tool('demo').main(['--port', str(port)])


@pytest.mark.parametrize('arguments', [('--port', '99999'), ('--host', '203.0.113.1'), ('--host', 'no such host')])
def test_address_that_cannot_be_listened_on_is_one_line(load_tool, arguments):
    with pytest.raises(SystemExit, match=r'^error: --host .*: .+[^.]\.$'):
        load_tool('demo').main([*arguments])


def test_missing_gradio_names_the_extra(load_tool, monkeypatch):
    monkeypatch.setitem(sys.modules, 'gradio', None)
    # What the tool sets is for a process of its own.
    monkeypatch.setattr(os, 'environ', {**os.environ})
    monkeypatch.setattr(tempfile, 'tempdir', None)
    monkeypatch.setattr(signal, 'signal', lambda *args: None)
    with pytest.raises(SystemExit) as error:
        load_tool('demo').main([])
    assert str(error.value) == "error: gradio is not installed: pip install '.[demo]' in a clone of rescaps brings it."


def test_unknown_device_is_told_at_the_start(run_tool):
    result = run_tool('demo', '--device', 'nothing')
    assert result.returncode == 1 and result.stderr.startswith("error: device 'nothing' is not available: ")


@pytest.mark.slow
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_serves_on_this_machine_until_a_signal(tmp_path, number):
    server = Server(tmp_path)
    assert server.url.startswith('http://127.0.0.1:')
    with urllib.request.urlopen(server.url) as answer:
        page = answer.read().decode()
    assert 'Nothing that you upload leaves it' in page
    assert 'window.gradio_config' in page and 'fonts.googleapis.com' not in page
    assert server.stop(number) == 0
    assert server.log.read_text().endswith('stopped.\n') and 'Traceback' not in server.log.read_text()
    left = [*server.home.iterdir(), *server.temporary.iterdir()]
    assert [path for path in left if not path.name.startswith('torchinductor_')] == []  # made by import torch


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp('server'))
    yield server
    assert server.stop(signal.SIGINT) == 0
    assert server.log.read_text().splitlines()[1:] == ['stopped.']


@pytest.mark.slow
def test_visitor_who_leaves_while_a_file_is_sent_is_no_error(server):
    address = urllib.parse.urlsplit(server.url)
    head = (
        f'POST /gradio_api/upload HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: 100000\r\n'
        'Content-Type: multipart/form-data; boundary=part\r\n\r\n'
        '--part\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\nbegun'
    )
    with socket.create_connection((address.hostname, address.port)) as visitor:
        visitor.sendall(head.encode())
        time.sleep(1)
    with urllib.request.urlopen(server.url) as answer:
        assert answer.status == 200


@pytest.mark.slow
def test_address_in_place_of_an_uploaded_file_is_refused(server):
    with urllib.request.urlopen(f'{server.url}config') as answer:
        handlers = {each['api_name']: each['id'] for each in json.load(answer)['dependencies']}
    file = dict(path='http://example.com/a.png', meta=dict(_type='gradio.FileData'))
    call = json.dumps(dict(data=[file], fn_index=handlers['take_file'], session_hash='visitor')).encode()
    request = urllib.request.Request(f'{server.url}gradio_api/queue/join', call, {'Content-Type': 'application/json'})
    urllib.request.urlopen(request).close()
    with urllib.request.urlopen(f'{server.url}gradio_api/queue/data?session_hash=visitor', timeout=60) as events:
        result = next(line for line in events if b'process_completed' in line)
    assert b'"error":"Only uploaded files are read, no addresses."' in result


@pytest.mark.slow
def test_other_address(tmp_path):
    """One of IPv6, and the page does not promise what holds on 127.0.0.1 only."""
    try:
        socket.create_server(('::', 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip('this machine has no IPv6')
    server = Server(tmp_path, '--host', '::')
    with urllib.request.urlopen(f'http://[::1]:{urllib.parse.urlsplit(server.url).port}') as answer:
        page = answer.read().decode()
    assert 'is sent to it, and is deleted there after a day' in page and 'Nothing that you upload' not in page
    assert server.stop(signal.SIGINT) == 0
