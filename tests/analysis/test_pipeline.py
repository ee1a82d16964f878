"""Time of saliency prediction by stage, on a detector whose stages are slowed down."""

import json
import time

import cv2
import pytest
import torch

for package in ('mmseg', 'py_sod_metrics'):
    pytest.importorskip(package)

from rescaps_plugin.analysis import pipeline  # noqa: E402
from rescaps_plugin.analysis.pipeline import STAGES, make_pipeline_page, time_stages  # noqa: E402
from rescaps_plugin.cli.config import load_config  # noqa: E402
from rescaps_plugin.saliency.predictor import SaliencyPredictor  # noqa: E402
from tests.tools.saliency import write_detector, write_images  # noqa: E402


@pytest.fixture
def detector(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    write_images(tmp_path / 'data')
    return write_detector(tmp_path, tmp_path / 'data')


def slow(function, seconds=0.3):
    def run(*args, **kwargs):
        time.sleep(seconds)
        return function(*args, **kwargs)

    return run


SLOWED = {
    'decode': lambda predictor: (predictor.reader, 'load'),
    'resize': lambda predictor: (predictor.model.data_preprocessor, 'cast_data'),
    'network': lambda predictor: (predictor.model.backbone, 'forward'),
    'resize back': lambda predictor: (predictor.model, 'postprocess_result'),
    'encode': lambda predictor: (cv2, 'imencode'),
}


@pytest.mark.parametrize('stage', STAGES)
def test_time_of_each_stage(detector, tmp_path, monkeypatch, stage):
    predictor = SaliencyPredictor(load_config(detector[0]), detector[1])
    image = tmp_path / 'data' / 'images' / 'a.png'
    time_stages(predictor, image, tmp_path / 'out')
    owner, name = SLOWED[stage](predictor)
    monkeypatch.setattr(owner, name, slow(getattr(owner, name)))
    times = time_stages(predictor, image, tmp_path / 'out')
    assert [*times] == [*STAGES] and max(times, key=times.get) == stage and times[stage] > 290
    assert (tmp_path / 'out' / 'cutouts' / 'a.png').is_file()


def test_page():
    times = dict(zip(STAGES, (1, 2, 30, 4, 5), strict=True))
    page = make_pipeline_page(['name'], pipeline.PipelineSpeed({'torch': times}, {'torch': (8.04, 9.96)}))
    assert '| torch | 1.0 | 2.0 | 30.0 | 4.0 | 5.0 | 42.0 | 8.0 | 10.0 |' in page.splitlines()


def test_benchmark_of_a_detector_and_its_file(detector, load_tool, tmp_path, monkeypatch, capsys):
    for package in ('onnxruntime', 'openvino'):
        pytest.importorskip(package, reason="needs pip install '.[openvino]'")
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    monkeypatch.setattr(pipeline, 'SIDE', 64)
    monkeypatch.setattr(pipeline, 'FRAMES', 3)
    load_tool('export').main([*detector, '--format', 'openvino', '--out', 'model.xml'])
    for model, runtimes in ((detector, ['torch', 'onnx', 'openvino']), (['model.xml'], ['openvino'])):
        options = ['--repeats', '1', '--threads', str(torch.get_num_threads()), '--out-dir', 'bench']
        load_tool('benchmark').main(['--pipeline', *model, *options])
        found = json.loads((tmp_path / 'bench' / 'benchmark.json').read_text())
        assert [*found['stages']] == [*found['video']] == runtimes
        assert all(time > 0 for times in found['stages'].values() for time in times.values())
        assert all(frames > 0 for pair in found['video'].values() for frames in pair)
        assert f'`{" ".join(model)}`, 64 x 64 pixels' in capsys.readouterr().out
    with pytest.raises(SystemExit, match='--pipeline measures one model; b.xml follows'):
        load_tool('benchmark').main(['--pipeline', 'model.xml', 'b.xml'])
