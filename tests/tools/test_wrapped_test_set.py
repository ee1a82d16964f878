"""Tools on test sets of several data sets or in wrappers: predict, export, transfer and visualise."""

import csv
import json

import pytest

pytest.importorskip('mmpretrain')

import onnxruntime
import torch
from mmengine.config import Config

from rescaps_plugin.cli.config import (
    ConfigError,
    find_test_pipeline,
    inner_datasets,
    load_config,
    unwrap_test_set,
    with_pipeline,
)
from rescaps_plugin.training.runner import build_runner
from tests.tools import pointcaps, saliency

DIGITS = """
_base_ = {base!r}
model = dict(backbone=dict(capsule_types=(2, 2, 2, 2)), head=dict(in_channels=34))
parts = [
    dict(type='Digits', split=split, indices=8, pipeline={{{{_base_.test_pipeline}}}}) for split in ('train', 'test')]
concatenated = dict(type='ConcatDataset', datasets=parts)
test_dataloader = dict(
    batch_size=16, dataset=dict(_delete_=True, type='RepeatDataset', times=2, dataset=concatenated))
train_dataloader = dict(dataset=dict(indices=32))
log_level = 'ERROR'
"""

WRAPPED = """
_base_ = {base!r}
test_dataloader = dict(
    dataset=dict(_delete_=True, type='RepeatDataset', times=2, dataset={{{{_base_.test_dataloader.dataset}}}}))
"""


def table(path):
    with path.open(encoding='utf-8') as file:
        return list(csv.DictReader(file))


@pytest.fixture
def digits(tmp_path, repository):
    """A config of two data sets in two wrappers, and an untrained checkpoint."""
    config = tmp_path / 'two.py'
    config.write_text(DIGITS.format(base=str(repository / 'configs/rescaps/digits.py')))
    cfg = load_config(str(config))
    cfg.work_dir = str(tmp_path / 'build')
    torch.save(dict(state_dict=build_runner(cfg).model.state_dict()), tmp_path / 'two.pth')
    return str(config), str(tmp_path / 'two.pth')


class TestClassifiers:
    def test_predict(self, digits, load_tool, tmp_path):
        load_tool('predict').main([*digits, '--out-dir', str(tmp_path / 'out')])
        rows = table(tmp_path / 'out' / 'predictions.csv')
        assert len(rows) == 32 and [row['truth'] for row in rows[:16]] == [row['truth'] for row in rows[16:]]

    def test_export(self, digits, load_tool, tmp_path):
        path = tmp_path / 'two.onnx'
        load_tool('export').main([*digits, '--out', str(path), '--check'])
        metadata = json.loads(onnxruntime.InferenceSession(path).get_modelmeta().custom_metadata_map['metadata.json'])
        assert metadata['classes'] == list('0123456789') and metadata['test_pipeline'][-1]['type'] == 'PackInputs'

    def test_robustness(self, digits, load_tool, tmp_path):
        out = tmp_path / 'out'
        load_tool('robustness').main([*digits, '--modes', 'affine', '--draws', '1', '--out-dir', str(out)])
        assert (out / 'robustness.json').is_file()

    def test_capsules(self, digits, load_tool, tmp_path):
        load_tool('visualise_capsules').main([*digits, '--images', '2', '--out-dir', str(tmp_path / 'out')])
        assert (tmp_path / 'out' / 'activations.png').is_file()

    def test_augmented_test(self, digits, load_tool, tmp_path):
        options = (
            'tta_model=dict(type=AverageClsScoreTTA)',
            "tta_pipeline=[dict(type='Grayscale'),dict(type='Resize',scale=(16,16)),"
            "dict(type='TestTimeAug',transforms=[[dict(type='PackInputs')]])]",
        )
        out = tmp_path / 'metrics.json'
        arguments = ['--tta', '--work-dir', str(tmp_path / 'run'), '--out', str(out), '--out-item', 'metrics']
        load_tool('test').main([*digits, *arguments, '--cfg-options', *options])
        assert 'accuracy/top1' in json.loads(out.read_text())


class TestClouds:
    @pytest.fixture
    def clouds(self, tmp_path, repository):
        config, checkpoint = pointcaps.write_config(tmp_path, repository)
        (tmp_path / 'wrapped.py').write_text(WRAPPED.format(base=config))
        return str(tmp_path / 'wrapped.py'), checkpoint

    def test_predict(self, clouds, load_tool, tmp_path):
        load_tool('predict').main([*clouds, '--out-dir', str(tmp_path / 'out')])
        assert len(table(tmp_path / 'out' / 'predictions.csv')) == 48

    def test_transfer(self, clouds, load_tool, tmp_path):
        load_tool('transfer_svm').main([*clouds, '--out-dir', str(tmp_path / 'out')])
        assert sum(int(row['clouds']) for row in table(tmp_path / 'out' / 'classes.csv')) == 48

    def test_export(self, clouds, load_tool, tmp_path):
        load_tool('export').main([*clouds, '--out', str(tmp_path / 'x.pt'), '--format', 'torchscript', '--check'])
        assert (tmp_path / 'x.pt').is_file()


def test_maps(tmp_path, load_tool, monkeypatch):
    pytest.importorskip('mmseg')
    saliency.write_images(tmp_path / 'data')
    config, checkpoint = saliency.write_detector(tmp_path, tmp_path / 'data')
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / 'wrapped.py').write_text(WRAPPED.format(base=config))
    load_tool('predict').main([str(tmp_path / 'wrapped.py'), checkpoint, '--out-dir', str(tmp_path / 'out')])
    assert len(table(tmp_path / 'out' / 'predictions.csv')) == 6


class TestHelpers:
    LEAVES = (dict(type='A', pipeline=[1]), dict(type='B', dataset='a name', pipeline=[2]), dict(type='C'))
    WRAPPED = dict(type='Repeat', dataset=dict(type='Concat', datasets=list(LEAVES)))

    def test_data_sets_inside(self):
        assert inner_datasets(self.WRAPPED) == list(self.LEAVES)
        assert inner_datasets(self.LEAVES[1]) == [self.LEAVES[1]]

    def test_pipeline(self):
        cfg = Config(dict(test_dataloader=dict(dataset=self.WRAPPED)))
        assert find_test_pipeline(cfg) == [1]
        assert unwrap_test_set(cfg).test_dataloader.dataset.type == 'A'
        assert cfg.test_dataloader.dataset.type == 'Repeat'
        with pytest.raises(ConfigError, match='has no pipeline'):
            find_test_pipeline(Config(dict(test_dataloader=dict(dataset=dict(type='C')))))

    def test_other_pipeline(self):
        changed = with_pipeline(self.WRAPPED, [3])
        assert [each['pipeline'] for each in inner_datasets(changed)] == [[3]] * 3
        assert 'pipeline' not in self.LEAVES[2]
