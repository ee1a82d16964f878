"""What all predictors share: lists, batches, devices, and exported models in the cache."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch import nn

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.export import formats
from rescaps_plugin.export.exporter import Exporter
from rescaps_plugin.export.formats import RUNTIMES
from rescaps_plugin.export.predictor import Predictor

CONFIG = Config(dict(model=dict(type='Square'), test_dataloader=dict(dataset=dict(pipeline=[]))))


class Square(nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.register_buffer('factor', torch.tensor(float(factor)))

    def forward(self, rows):
        return self.factor * rows.square().sum(1, keepdim=True)


class SquareExporter(Exporter):
    task, sample, size_names, input_name, output_names = 'squares', 'row', ('N',), 'rows', ('squares',)
    load_model = reference = agreement = score = summarise = metrics = None

    def build_network(self, deployed):
        return deployed


class SquarePredictor(Predictor):
    """Predict the sum of the squares of a row, and the size of the batch that it was in."""

    exporter = SquareExporter
    default_batch_size = 3

    def __init__(self, factor=1, device='cpu', batch_size=None, runtime='torch'):
        super().__init__(CONFIG, Square(factor).eval(), device, batch_size, runtime)

    def read(self, each, source):
        return torch.tensor(np.loadtxt(each) if isinstance(each, str) else each, dtype=torch.float32)

    def batch_key(self, sample):
        return sample.shape

    def predict_batch(self, samples):
        rows = torch.stack(samples)
        squares = self.model(rows) if self.runtime == 'torch' else self.run_file(rows)[0]
        return [(square.item(), len(samples)) for square in squares]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The folder of the exported models."""
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    return tmp_path / 'hub' / 'rescaps'


ROW = np.array([1.0, 2.0])


def test_one_input_has_one_result_and_a_list_has_a_list():
    predictor = SquarePredictor()
    assert predictor.predict(ROW) == (5, 1)
    assert predictor.predict([ROW]) == predictor.predict((ROW,)) == [(5, 1)]
    assert predictor.predict([]) == predictor.predict(()) == []


def test_batches():
    rows = [number * ROW for number in range(5)]
    sums = [0, 5, 20, 45, 80]
    assert SquarePredictor().predict(rows) == list(zip(sums, [3, 3, 3, 2, 2], strict=True))
    assert SquarePredictor(batch_size=4).predict(rows) == list(zip(sums, [4, 4, 4, 4, 1], strict=True))
    assert SquarePredictor().predict(rows, batch_size=1) == [(each, 1) for each in sums]
    # In the order of the inputs, samples of one shape only.
    assert SquarePredictor().predict([ROW, ROW, [3.0], ROW]) == [(5, 2), (5, 2), (9, 1), (5, 1)]


def test_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savetxt('row.txt', ROW)
    assert SquarePredictor().predict(['row.txt', ROW]) == [(5, 2), (5, 2)]
    with pytest.raises(FileNotFoundError, match='inputs: nowhere.txt does not exist'):
        SquarePredictor().predict('nowhere.txt')
    with pytest.raises(FileNotFoundError, match=r'inputs\[1\]: nowhere.txt does not exist'):
        SquarePredictor().predict([ROW, 'nowhere.txt'])
    with pytest.raises(FileNotFoundError, match=f'inputs: {tmp_path} is a folder, not a file'):
        SquarePredictor().predict(tmp_path)


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        (dict(batch_size=0), ValueError, 'batch_size must be a positive integer, got 0'),
        (
            dict(runtime='tensorrt'),
            ValueError,
            r"runtime must be one of \('torch', 'onnx', 'openvino'\), got 'tensorrt'",
        ),
        (dict(device='gpu'), UserError, "device 'gpu' is not available: .*gpu"),
        (dict(device='cuda:99'), UserError, "device 'cuda:99' is not available"),
        (
            dict(device='cuda', runtime='openvino'),
            UserError,
            r"'openvino' as installed here runs on cpu, not on 'cuda'\.",
        ),
        (dict(device='xpu', runtime='onnx'), UserError, "'onnx' as installed here runs on cpu.*not on 'xpu'"),
    ],
)
def test_mistakes(options, error, message):
    with pytest.raises(error, match=message):
        SquarePredictor(**options)
    with pytest.raises(ValueError, match='batch_size must be a positive integer, got -1'):
        SquarePredictor().predict(ROW, batch_size=-1)


@pytest.mark.parametrize('providers', [['CPUExecutionProvider'], ['CUDAExecutionProvider', 'CPUExecutionProvider']])
def test_onnx_on_a_gpu_needs_the_provider(monkeypatch, providers):
    onnxruntime = pytest.importorskip('onnxruntime')
    monkeypatch.setattr(onnxruntime, 'get_available_providers', lambda: providers)
    if len(providers) > 1:
        formats.find_runtime('onnx', 'cuda:1')
    else:
        with pytest.raises(UserError, match="runs on cpu, not on 'cuda:1'; onnxruntime-gpu has CUDA"):
            formats.find_runtime('onnx', 'cuda:1')


@pytest.mark.parametrize(('runtime', 'package', 'extra'), [('onnx', 'onnxruntime', 'export'), ('openvino',) * 3])
def test_missing_package_is_named(monkeypatch, runtime, package, extra):
    monkeypatch.setattr(formats, 'find_spec', lambda name: None if name == package else object())
    with pytest.raises(UserError, match=rf"runtime '{runtime}' needs {package}: pip install '\.\[{extra}\]'"):
        SquarePredictor(runtime=runtime)


@pytest.fixture(params=RUNTIMES)
def runtime(request):
    for package in ('onnx', 'onnxscript', RUNTIMES[request.param].package):
        pytest.importorskip(package, reason="needs pip install '.[openvino]'")
    return request.param


def test_runtimes_equal_pytorch(runtime):
    predictor = SquarePredictor(2, runtime=runtime)
    assert repr(predictor) == f"SquarePredictor(a config, device='cpu', batch_size=3, runtime='{runtime}')"
    rows = [*np.random.RandomState(0).randn(4, 2), [3.0], ROW]
    results = predictor.predict(rows)
    np.testing.assert_allclose(results, SquarePredictor(2).predict(rows), rtol=1e-6)
    # Results stay when the predictor runs again.
    assert predictor.predict([100 * ROW])[0][0] == pytest.approx(100_000) and results[-1] == (10, 1)


def test_threads_share_a_predictor(runtime):
    predictor = SquarePredictor(runtime=runtime)
    rows = np.random.RandomState(0).randn(200, 2)
    expected = SquarePredictor().predict([*rows], batch_size=1)
    with ThreadPoolExecutor(4) as pool:
        np.testing.assert_allclose([*pool.map(predictor.predict, rows)], expected, rtol=1e-6)


def test_threads_of_runtimes_are_those_of_pytorch(runtime, monkeypatch):
    given = {}
    if runtime == 'onnx':
        import onnxruntime

        session = onnxruntime.InferenceSession

        def watch(path, options, **others):
            given['threads'] = options.intra_op_num_threads
            return session(path, options, **others)

        monkeypatch.setattr(onnxruntime, 'InferenceSession', watch)
        SquarePredictor(runtime=runtime).predict(ROW)
        assert given['threads'] == torch.get_num_threads()
    else:
        import openvino

        compile_model = openvino.Core.compile_model

        def watch(self, *arguments):
            given['model'] = compile_model(self, *arguments)
            return given['model']

        monkeypatch.setattr(openvino.Core, 'compile_model', watch)
        SquarePredictor(runtime=runtime).predict(ROW)
        assert given['model'].get_property('INFERENCE_NUM_THREADS') == torch.get_num_threads()
        assert given['model'].get_property('INFERENCE_PRECISION_HINT').to_string() == 'f32'


@pytest.fixture
def exports(monkeypatch):
    """The calls of the export, which takes a second."""
    pytest.importorskip('onnxruntime')
    calls, save = [], SquareExporter.save

    def watch(self, path):
        calls.append(path)
        time.sleep(1)
        save(self, path)

    monkeypatch.setattr(SquareExporter, 'save', watch)
    return calls


def test_a_model_is_exported_once(cache, exports, monkeypatch):
    for _ in range(2):
        assert SquarePredictor(runtime='onnx').predict([ROW, ROW]) == [(5, 2), (5, 2)]
    assert len(exports) == 1
    # Other weights and other settings are other models.
    assert SquarePredictor(3, runtime='onnx').predict(ROW) == (15, 1)
    monkeypatch.setitem(CONFIG.model, 'type', 'Other')
    SquarePredictor(runtime='onnx').predict(ROW)
    assert len(exports) == len([*cache.glob('*.onnx')]) == 3


def test_predictors_at_once_export_once(exports):
    with ThreadPoolExecutor() as pool:
        results = pool.map(lambda _: SquarePredictor(runtime='onnx').predict(ROW), range(2))
    assert [*results] == [(5, 1), (5, 1)] and len(exports) == 1


def test_a_failed_export_leaves_no_file(cache, monkeypatch):
    pytest.importorskip('onnxruntime')

    def fail(self, path):
        path.write_bytes(b'half')
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(SquareExporter, 'save', fail)
        with pytest.raises(KeyboardInterrupt):
            SquarePredictor(runtime='onnx').predict(ROW)
    assert not [*cache.glob('*.onnx')]
    assert SquarePredictor(runtime='onnx').predict(ROW) == (5, 1)


def test_cache_that_cannot_be_written_is_named(cache):
    pytest.importorskip('onnxruntime')
    cache.parent.write_text('a file')
    with pytest.raises(UserError, match=r'exported models \(see TORCH_HOME\) cannot be written: .*hub'):
        SquarePredictor(runtime='onnx').predict(ROW)
