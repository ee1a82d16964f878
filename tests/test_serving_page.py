"""Scripts of ``docs/serving.md``, on the exported files of a published model."""

import io
import json
import re
import struct
import subprocess
import sys
import zlib
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
from PIL import Image

from rescaps_plugin import zoo
from rescaps_plugin.data.digits import load_digits

for package in ('mmpretrain', 'onnxruntime', 'openvino'):
    pytest.importorskip(package)

NAME = 'rescaps-tiny_digits'


@pytest.fixture(scope='module')
def page(repository):
    return (repository / 'docs/serving.md').read_text(encoding='utf-8')


@pytest.fixture(scope='module')
def folder(page, tmp_path_factory):
    """A folder with the scripts of the page, by the names in their first lines, and ten images of digits."""
    folder = tmp_path_factory.mktemp('serving')
    for code in re.findall(r'^```python\n(.*?)^```', page, re.DOTALL | re.MULTILINE):
        (folder / re.match(r'"""python (\w+\.py)', code)[1]).write_text(code)
    images, labels = load_digits('test', 'classification')
    for label in range(10):
        pixels = np.uint8(np.rint(images[np.flatnonzero(labels == label)[0]] * 255 / 16))
        Image.fromarray(pixels).save(folder / f'{label}.png')
    return folder


@pytest.fixture
def files(folder, load_tool):
    """The files that the page exports."""
    onnx, openvino = folder / 'digits.onnx', folder / 'digits.xml'
    for path, form in ((onnx, 'onnx'), (openvino, 'openvino')):
        if not path.is_file():
            size = ['--input-size', '16', '16']
            load_tool('export').main([NAME, '--dynamic-batch', '--format', form, '--out', str(path), *size])
    return onnx, openvino


@pytest.fixture
def start(folder, repository):
    """Start a script of the page."""
    started = []

    def call(script, *arguments):
        environment = {'PYTHONPATH': str(repository), 'OMP_NUM_THREADS': '1', 'HOME': str(folder), 'PATH': ''}
        options = dict(cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(subprocess.Popen([sys.executable, script, *map(str, arguments)], **options))
        return started[-1]

    yield call
    for process in started:
        process.kill()
        process.communicate()


def test_classes(files, start):
    for path in files:
        output, error = start('classes.py', path, '3.png', '7.png').communicate()
        assert output.split() == ['3.png', '3', '7.png', '7'], error


def _chunk(kind, data=b''):
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def test_server(files, start, folder):
    server = start('serve.py', files[0], 0)
    line = server.stdout.readline()
    assert line, server.stderr.read()
    address = f'http://127.0.0.1:{line.split()[-1]}'
    expected = zoo.load(NAME).predict(folder / '4.png')
    with urlopen(address, (folder / '4.png').read_bytes()) as answer:
        scores = json.load(answer)
    assert [*scores] == [*expected.classes] and [*scores.values()] == pytest.approx(expected.scores, abs=1e-5)
    postscript = io.BytesIO()
    Image.new('L', (16, 16)).save(postscript, 'EPS')
    for content, message in (
        (b'not an image', 'cannot identify image file'),
        ((folder / '4.png').read_bytes()[:60], 'truncated'),
        (b'', 'expected an image file of 1 to 16777216 bytes, got 0'),
        (postscript.getvalue(), 'cannot identify image file'),
    ):
        with pytest.raises(HTTPError, match='400') as fault:
            urlopen(address, content)
        assert message in json.load(fault.value)['error']
    huge = (
        b'\x89PNG\r\n\x1a\n' + _chunk(b'IHDR', struct.pack('>IIBBBBB', 2**15, 2**15, 8, 0, 0, 0, 0)) + _chunk(b'IDAT')
    )
    for content, length in ((huge, len(huge)), (b'', -1), (b'', 'x')):
        request = Request(address, content, {'Content-Length': str(length)})
        with pytest.raises(HTTPError, match='400'):
            urlopen(request, timeout=60)
    with urlopen(address, (folder / '5.png').read_bytes()) as answer:
        assert next(iter(json.load(answer))) == '5'


def test_throughput(files, start):
    output, error = start('throughput.py', files[1]).communicate()
    assert re.fullmatch(r'latency: \d+ images/s, 1 at a time\nthroughput: \d+ images/s, \d+ at a time\n', output), error


def test_triton_config(files, start, page):
    """That of the page is what the script writes, and has the names, types and shapes of the file."""
    output, error = start('triton_config.py', files[0], 'digits').communicate()
    assert f'```text\n{output}```' in page, error
    import onnxruntime

    session = onnxruntime.InferenceSession(files[0])
    for value in (*session.get_inputs(), *session.get_outputs()):
        assert f'name: "{value.name}"\n  data_type: TYPE_FP32\n  dims: {value.shape[1:]}' in output
