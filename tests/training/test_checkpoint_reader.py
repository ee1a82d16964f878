"""Malicious and damaged files of weights."""

import http.server
import io
import os
import random
import sys
import threading
import zipfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip('mmengine')

from mmengine.model import BaseModule
from mmengine.runner.checkpoint import CheckpointLoader
from safetensors.torch import save_file
from torch import nn

from rescaps_plugin.training import checkpoint_loader as checkpoint_module
from rescaps_plugin.training.checkpoint_loader import load_from_local, safe_loaders
from rescaps_plugin.training.checkpoint_reader import CheckpointError, find_damage, read_weights, trust_checkpoint
from rescaps_plugin.training.plain_checkpoint import from_plain
from tests.training.test_checkpoints import Exploit

WEIGHTS = {'weight': torch.arange(12.0).reshape(3, 4)}


@pytest.fixture
def evil(tmp_path):
    """A checkpoint that makes a file ``hacked`` when it is unpickled."""
    torch.save({'state_dict': WEIGHTS, 'meta': Exploit(tmp_path / 'hacked')}, tmp_path / 'evil.pth')
    return tmp_path / 'evil.pth'


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Serve a file under a name and return its URL. Downloads go to a separate cache."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    monkeypatch.setenv('MMENGINE_HOME', str(tmp_path / 'home'))
    for name in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / 'served'
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def serve(path, name):
        (folder / name).write_bytes(path.read_bytes())
        return f'http://127.0.0.1:{server.server_port}/{name}'

    yield serve
    server.shutdown()
    server.server_close()


def load(name):
    """Load a checkpoint as MMEngine does in the tools."""
    with safe_loaders():
        return CheckpointLoader.load_checkpoint(str(name), map_location='cpu', logger='silent')


SCHEMES = (
    'path', 'http', 'torchvision', 'modelzoo', 'open-mmlab', 'openmmlab', 'openmmlab home', 'mmcls', 's3', 'c:s3',
    'petrel', 'pavi',
)  # fmt: skip


@pytest.fixture(params=SCHEMES)
def publish(request, serve, tmp_path, monkeypatch):
    """Make a file available to a loader of MMEngine, and return the name to load it by."""

    def publish(path):
        scheme = request.param
        if scheme == 'path':
            return str(path)
        if scheme in ('s3', 'c:s3', 'petrel'):
            store = SimpleNamespace(get=lambda name: path.read_bytes())
            monkeypatch.setattr(checkpoint_module, 'get_file_backend', lambda *args, **kwargs: store)
            return f'{scheme}://bucket/model.pth'
        if scheme == 'pavi':
            model = SimpleNamespace(name='x.pth', download=lambda to: Path(to).write_bytes(path.read_bytes()))
            cloud = SimpleNamespace(modelcloud=SimpleNamespace(get=lambda name: model))
            monkeypatch.setitem(sys.modules, 'pavi', cloud)
            return 'pavi://model'
        if scheme == 'openmmlab home':
            (tmp_path / 'home').mkdir(exist_ok=True)
            (tmp_path / 'home' / 'model.pth').write_bytes(path.read_bytes())
            monkeypatch.setitem(checkpoint_module._PUBLISHED, 'openmmlab', lambda: dict(model='model.pth'))
            return 'openmmlab://model'
        url = serve(path, 'model.pth')
        if scheme == 'http':
            return url
        monkeypatch.setitem(checkpoint_module._PUBLISHED, scheme, lambda: dict(model=url))
        return f'{scheme}://model'

    return publish


class TestSources:
    def test_code_does_not_run(self, publish, evil, tmp_path):
        with pytest.raises(CheckpointError, match='holds more than weights'):
            load(publish(evil))
        assert not (tmp_path / 'hacked').exists()

    def test_weights_are_loaded(self, publish, tmp_path):
        torch.save({'state_dict': {'backbone.weight': WEIGHTS['weight']}}, tmp_path / 'good.pth')
        ((_, found),) = load(publish(tmp_path / 'good.pth'))['state_dict'].items()
        assert torch.equal(found, WEIGHTS['weight'])

    def test_trusted_url_runs_and_no_other(self, serve, evil, tmp_path):
        one, two = serve(evil, 'one.pth'), serve(evil, 'two.pth')
        with trust_checkpoint(one):
            with pytest.raises(CheckpointError):
                load(two)
            assert not (tmp_path / 'hacked').exists()
            with pytest.raises(CheckpointError, match='meta'):  # not a dictionary after its code ran
                load(one)
        assert (tmp_path / 'hacked').exists()

    def test_same_name_elsewhere_is_another_file(self, serve, tmp_path):
        torch.save(WEIGHTS, tmp_path / 'model.pth')
        url = serve(tmp_path / 'model.pth', 'model.pth')
        torch.save({'weight': torch.zeros(1)}, tmp_path / 'model.pth')
        (tmp_path / 'served' / 'b').mkdir()
        other = serve(tmp_path / 'model.pth', 'b/model.pth')
        assert load(url)['weight'].shape == (3, 4) and load(other)['weight'].shape == (1,)

    def test_wrong_digits_in_the_name_of_a_published_file(self, serve, tmp_path, monkeypatch):
        torch.save(WEIGHTS, tmp_path / 'good.pth')
        url = serve(tmp_path / 'good.pth', 'net-12345678.pth')
        monkeypatch.setitem(checkpoint_module._PUBLISHED, 'torchvision', lambda: dict(net=url))
        with pytest.raises(CheckpointError, match='invalid hash value'):
            load('torchvision://net')

    def test_partial_download_is_not_kept(self, serve, tmp_path):
        torch.save(WEIGHTS, tmp_path / 'good.pth')
        whole = (tmp_path / 'good.pth').read_bytes()
        (tmp_path / 'good.pth').write_bytes(whole[: len(whole) // 2])
        url = serve(tmp_path / 'good.pth', 'model.pth')
        with pytest.raises(CheckpointError, match='not downloaded whole'):
            load(url)
        (tmp_path / 'good.pth').write_bytes(whole)
        serve(tmp_path / 'good.pth', 'model.pth')
        assert torch.equal(load(url)['weight'], WEIGHTS['weight'])

    @pytest.mark.parametrize(
        ('name', 'message'),
        [
            ('ftp://host/x.pth', r'ftp:// is not one of rescaps, http'),
            ('http://127.0.0.1:9/x.pth', r'could not be downloaded: .*refused'),
            ('torchvision://nope', 'no model of this name'),
            ('nope.pth', 'does not exist'),
        ],
    )
    def test_no_such_source(self, serve, name, message):
        with pytest.raises(CheckpointError, match=message):
            load(name)

    def test_initialisation_by_pretrained_weights(self, serve, evil, tmp_path):
        class Net(BaseModule):
            def __init__(self, **kwargs):
                super().__init__(**kwargs)
                self.linear = nn.Linear(1, 1)

        net = Net(init_cfg=dict(type='Pretrained', checkpoint=serve(evil, 'model.pth')))
        with pytest.raises(CheckpointError), safe_loaders():
            net.init_weights()
        assert not (tmp_path / 'hacked').exists()

    def test_loaders_are_restored(self):
        before = dict(CheckpointLoader._schemes)
        with pytest.raises(KeyError), safe_loaders():
            assert CheckpointLoader._schemes != before
            raise KeyError
        assert dict(CheckpointLoader._schemes) == before


class TestDamage:
    def test_no_flipped_bit_gives_other_weights(self, tmp_path):
        path = tmp_path / 'x.pth'
        torch.save({'state_dict': {'w': torch.rand(8)}, 'optimizer': {'state': {0: torch.rand(8)}}}, path)
        data, whole = path.read_bytes(), torch.load(path)
        chosen = random.Random(0).sample(range(8 * len(data)), 1500)
        refused = 0
        for bit in chosen:
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            try:
                found = load_from_local(str(path))
            except CheckpointError:
                refused += 1
            else:
                assert torch.equal(found['state_dict']['w'], whole['state_dict']['w'])
                assert torch.equal(found['optimizer']['state'][0], whole['optimizer']['state'][0])
        assert refused > 500

    def test_compressed_parts(self, tmp_path):
        torch.save({'w': torch.zeros(1 << 20)}, tmp_path / 'plain.pth')
        with (
            zipfile.ZipFile(tmp_path / 'plain.pth') as source,
            zipfile.ZipFile(tmp_path / 'bomb.pth', 'w', zipfile.ZIP_DEFLATED) as target,
        ):
            for name in source.namelist():
                target.writestr(name, source.read(name))
        assert (tmp_path / 'bomb.pth').stat().st_size < 20_000
        with pytest.raises(CheckpointError, match='compressed'):
            read_weights(tmp_path / 'bomb.pth')

    def test_parts_that_share_their_bytes(self, tmp_path):
        path = tmp_path / 'x.pth'
        torch.save({'a': torch.zeros(1000), 'b': torch.zeros(1000)}, path)
        data = path.read_bytes()
        with zipfile.ZipFile(path) as archive:
            offsets = {entry.filename: entry.header_offset for entry in archive.infolist()}
        first, second = (offsets[f'x/data/{i}'] for i in (0, 1))
        start = data.index(b'PK\x01\x02')
        shared = data[:start] + data[start:].replace(second.to_bytes(4, 'little'), first.to_bytes(4, 'little'))
        path.write_bytes(shared[:second] + shared[offsets['x/version'] :])
        assert find_damage(path)
        with pytest.raises(CheckpointError):
            read_weights(path)

    def test_old_format_has_no_checksums(self, tmp_path):
        torch.save(WEIGHTS, tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
        assert torch.equal(read_weights(tmp_path / 'old.pth')['weight'], WEIGHTS['weight'])

    def test_safetensors(self, tmp_path):
        save_file(WEIGHTS, tmp_path / 'x.safetensors')
        assert torch.equal(read_weights(tmp_path / 'x.safetensors')['weight'], WEIGHTS['weight'])
        (tmp_path / 'x.safetensors').write_bytes((tmp_path / 'x.safetensors').read_bytes()[:-4])
        with pytest.raises(CheckpointError, match=r'x\.safetensors cannot be read'):
            read_weights(tmp_path / 'x.safetensors')


def nested(levels):
    """Nested lists, each holding the same list twice: ``levels`` levels, and 2 ** levels paths."""
    value = [1]
    for _ in range(levels):
        value = [value, value]
    return value


class TestNesting:
    @pytest.mark.parametrize('levels', [30, 45, 200])
    def test_repeated_parts(self, tmp_path, levels):
        torch.save({'x': nested(levels)}, tmp_path / 'x.pth')
        with pytest.raises(CheckpointError, match='repeats its data|levels deep'):
            read_weights(tmp_path / 'x.pth')

    def test_part_of_itself(self, tmp_path):
        value = []
        value.append(value)
        torch.save({'x': value}, tmp_path / 'x.pth')
        with pytest.raises(CheckpointError, match='levels deep'):
            read_weights(tmp_path / 'x.pth')

    def test_restoring_takes_a_step_for_each_part(self):
        plain = from_plain({'x': nested(60)})['x']
        for _ in range(60):
            assert plain[0] is plain[1]
            plain = plain[0]
        assert plain == [1]


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ([1, 2], 'holds a list'),
        (torch.zeros(3), 'holds a Tensor'),
        ('text', 'holds a str'),
        ({'state_dict': [1]}, 'its state_dict is a list'),
        ({'state_dict': WEIGHTS, 'meta': 7}, 'its meta is a int'),
        ({'state_dict': WEIGHTS, 'meta': {'dataset_meta': None}}, 'dataset_meta is a NoneType'),
        ({'state_dict': WEIGHTS, 'meta': {'dataset_meta': {'classes': 7}}}, 'classes is a int'),
        ({'state_dict': WEIGHTS, 'message_hub': None}, 'its message_hub is a NoneType'),
        ({1: torch.zeros(3)}, 'keys that are not names'),
    ],
)
def test_plain_files_that_are_no_checkpoint(tmp_path, content, message):
    torch.save(content, tmp_path / 'x.pth')
    with pytest.raises(CheckpointError, match=rf'x\.pth is no checkpoint: .*{message}'):
        load(tmp_path / 'x.pth')


def test_contents_in_memory():
    buffer = io.BytesIO()
    torch.save(WEIGHTS, buffer)
    assert torch.equal(read_weights(buffer, name='x')['weight'], WEIGHTS['weight'])
    data = bytearray(buffer.getvalue())
    data[data.index(WEIGHTS['weight'].numpy().tobytes())] ^= 1
    with pytest.raises(CheckpointError, match='x cannot be read: it is damaged'):
        read_weights(io.BytesIO(data), name='x')


def test_environment_cannot_disable_safe_loading(evil, tmp_path, monkeypatch):
    monkeypatch.setitem(os.environ, 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    with pytest.raises(CheckpointError):
        read_weights(evil)
    assert not (tmp_path / 'hacked').exists()
