"""Accuracy under transforms, without the data themselves."""

import pytest
from mmengine.config import Config

from rescaps_plugin.analysis.robustness import report, transforms
from rescaps_plugin.analysis.robustness.models import Model


@pytest.mark.parametrize('wrapped', [False, True])
def test_affnist_is_compared_with_mnist_placed_as_in_training(repository, monkeypatch, tmp_path, wrapped):
    cfg = Config.fromfile(repository / 'configs/rescaps/affnist_small.py')
    # The first digits of the training set are not those of the test set.
    cfg.train_dataloader.dataset.indices = 30000
    if wrapped:
        cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=1, dataset=cfg.train_dataloader.dataset)
    seen = []

    def measure_accuracy(models, datasets, args, label):
        seen.extend(datasets)
        return {'affnist': [99.0, 90.0]}

    monkeypatch.setattr(transforms, 'measure_accuracy', measure_accuracy)
    found = transforms.measure_affine([Model('affnist', cfg, '', None, None)], None)
    familiar, affine = seen
    familiar = familiar['dataset'] if wrapped else familiar
    assert (familiar['type'], familiar['split'], familiar['indices']) == ('IDXMNIST', 'test', None)
    assert familiar['pipeline'][0]['type'] == 'RandomAffinePlacement' and affine['type'] == 'AffNIST'
    assert found['accuracy']['affnist'] == {'familiar': 99.0, 'transformed': 90.0, 'draws': [90.0]}

    model = dict(name='affnist', config='affnist_small.py', checkpoint='epoch_4.pth')
    results = dict(data='AffNIST', models=[model], seed=0, device='cpu', torch='2', results=dict(affine=found))
    report.write_page(results, tmp_path / 'robustness.md')
    page = (tmp_path / 'robustness.md').read_text()
    assert '| affnist | 99.00 | 90.00 |' in page and 'None' not in page


def test_checkpoints_of_a_training_are_a_line(monkeypatch, tmp_path):
    models = [dict(name=f'{run} {epoch}', config=f'{run}/a.py') for run in ('x', 'y') for epoch in (1, 2)]
    accuracy = {model['name']: dict(familiar=90 + index, transformed=80 + index) for index, model in enumerate(models)}
    affine = dict(familiar='test set', transformed='random affine transforms', accuracy=accuracy)
    drawn = []
    monkeypatch.setattr(report, 'draw_curves', lambda panels, path, *labels: drawn.append((panels, path.name, *labels)))
    assert report.draw(dict(models=models, results=dict(affine=affine)), tmp_path) == ['affine.png']
    lines = {'x/a.py': ([90, 91], [80, 81]), 'y/a.py': ([92, 93], [82, 83])}
    ylabel = 'accuracy in per cent, random affine transforms'
    assert drawn == [({'checkpoints': lines}, 'affine.png', 'test set, %', [ylabel])]
    # One checkpoint each.
    assert report.draw(dict(models=models[1:3], results=dict(affine=affine)), tmp_path) == []
