"""Accuracy under transforms, without the data themselves."""

from mmengine.config import Config

from rescaps_plugin.analysis.robustness import transforms
from rescaps_plugin.analysis.robustness.models import Model
from rescaps_plugin.analysis.robustness.report import write_page


def test_affnist_is_compared_with_mnist_placed_as_in_training(repository, monkeypatch, tmp_path):
    cfg = Config.fromfile(repository / 'configs/rescaps/affnist_small.py')
    seen = []

    def measure_accuracy(models, datasets, args, label):
        seen.extend(datasets)
        return {'affnist': [99.0, 90.0]}

    monkeypatch.setattr(transforms, 'measure_accuracy', measure_accuracy)
    found = transforms.measure_affine([Model('affnist', cfg, '', None, None)], None)
    familiar, affine = seen
    assert (familiar['type'], familiar['split']) == ('IDXMNIST', 'test')
    assert familiar['pipeline'][0]['type'] == 'RandomAffinePlacement' and affine['type'] == 'AffNIST'
    assert found['accuracy']['affnist'] == {'familiar': 99.0, 'transformed': 90.0, 'draws': [90.0]}

    model = dict(name='affnist', config='affnist_small.py', checkpoint='epoch_4.pth')
    report = dict(data='AffNIST', models=[model], seed=0, device='cpu', torch='2', results=dict(affine=found))
    write_page(report, tmp_path / 'robustness.md')
    page = (tmp_path / 'robustness.md').read_text()
    assert '| affnist | 99.00 | 90.00 |' in page and 'None' not in page
