"""``tools/robustness.py`` on Digits, with briefly trained networks, and on data with viewpoints."""

import json
import re

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from PIL import Image

import rescaps_plugin.classification  # noqa: F401
from tests.classification.test_datasets import norb_arrays, write_norb
from tests.tools.digits import train_epoch

evasion = pytest.importorskip('art.attacks.evasion', reason="needs pip install '.[robustness]'")
QUICK = ('--attack-images', 16, '--epsilons', 0.05, 0.2, '--steps', 3, '--queries', 6, '--draws', 2)


@pytest.fixture(scope='module')
def models(repository, tmp_path_factory):
    """Configs and checkpoints of a ResCaps and a small CNN, trained on the same digits."""
    folder = tmp_path_factory.mktemp('models')
    cnn = folder / 'cnn.py'
    cnn.write_text(
        f'_base_ = {str(repository / "configs/resnet_cifar/resnet18_digits.py")!r}\n'
        "model = dict(_delete_=True, type='TimmClassifier', model_name='test_resnet', num_classes=10, in_chans=1,\n"
        "             loss=dict(type='CrossEntropyLoss'))\n"
    )
    pairs = []
    for config in (repository / 'configs/rescaps/digits.py', cnn):
        checkpoint = folder / f'{config.stem}.pth'
        torch.save({'state_dict': train_epoch(str(config)).state_dict()}, checkpoint)
        pairs.append((str(config), str(checkpoint)))
    return pairs


@pytest.fixture
def test(load_tool, tmp_path, monkeypatch):
    """Call the tool in this process and return its results and its page."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        load_tool('robustness').main([*map(str, arguments), '--device', 'cpu', '--out-dir', 'out'])
        report = json.loads((tmp_path / 'out/robustness.json').read_text())
        return report['results'], (tmp_path / 'out/robustness.md').read_text()

    return call


@pytest.mark.slow
def test_command_line(run_tool, models, tmp_path):
    result = run_tool('robustness', *models[0], *models[1], *QUICK, '--max-images', 50, '--angles', -40, 0, 40)
    assert result.returncode == 0, result.stderr
    folder = tmp_path / 'work_dirs/digits/robustness'
    assert {path.name for path in folder.iterdir()} == {
        'robustness.json',
        'robustness.md',
        'rotation.png',
        'attack.png',
    }
    report = json.loads((folder / 'robustness.json').read_text())
    assert [model['name'] for model in report['models']] == ['digits', 'cnn']
    results = report['results']
    assert list(results) == ['affine', 'rotation', 'attack']

    for name in ('digits', 'cnn'):
        affine, rotation = results['affine']['accuracy'][name], results['rotation']['accuracy'][name]
        assert affine['familiar'] == rotation[1] > 60
        assert affine['transformed'] == pytest.approx(np.mean(affine['draws']))
        assert affine['transformed'] < affine['familiar']
        assert affine['draws'][0] != affine['draws'][1]
        assert max(rotation[0], rotation[2]) < rotation[1]

    attack = results['attack']
    assert attack['images'] == 16 and attack['settings']['objective'] == 'margin'
    assert attack['transfer'].keys() == {'digits', 'cnn'} and list(attack['transfer']['digits']) == ['cnn']
    for name in ('digits', 'cnn'):
        white_box = attack['white_box'][name]
        assert set(white_box) == {'noise', 'fgsm', 'bim', 'pgd', 'square'}
        assert white_box['pgd'][1]['accuracy'] < white_box['noise'][1]['accuracy']
        assert attack['clean'][name]['loss'] < white_box['pgd'][0]['loss'] < white_box['pgd'][1]['loss']
    # The printed lines are those of the page, and match the results.
    lines = re.findall(r'^(?:PASS|FAIL)  .+$', result.stdout, re.MULTILINE)
    assert lines == attack['lines'] and len(lines) == 18
    page = (folder / 'robustness.md').read_text()
    assert all(f'- {line}' in page for line in lines)
    for check, line in zip(attack['checks'], lines, strict=True):
        assert line.startswith('PASS' if check['passed'] else 'FAIL')
    for name in ('rotation.png', 'attack.png'):
        picture = np.asarray(Image.open(folder / name).convert('RGB')).reshape(-1, 3)
        assert len(np.unique(picture, axis=0)) > 50


@pytest.mark.slow
def test_results_are_reproducible_and_independent_of_other_models(test, models):
    arguments = ('--modes', 'affine', 'attack', '--max-images', 40, *QUICK)
    both, _ = test(*models[0], *models[1], *arguments)
    alone, _ = test(*models[1], *arguments)
    assert alone['affine']['accuracy']['cnn'] == both['affine']['accuracy']['cnn']
    assert alone['attack']['white_box']['cnn'] == both['attack']['white_box']['cnn']
    assert alone['attack']['transfer'] == {'cnn': {}}
    other, _ = test(*models[1], *arguments, '--seed', 1)
    assert other['affine']['accuracy']['cnn']['draws'] != alone['affine']['accuracy']['cnn']['draws']
    assert other['attack']['white_box']['cnn']['pgd'] != alone['attack']['white_box']['cnn']['pgd']
    assert other['attack']['clean'] == alone['attack']['clean']


@pytest.mark.slow
def test_cross_entropy_objective_and_double_precision(test, models):
    arguments = (*models[0], '--modes', 'attack', *QUICK)
    margin, _ = test(*arguments)
    entropy, page = test(*arguments, '--objective', 'cross-entropy')
    double, _ = test(*arguments, '--double')
    assert 'objective cross-entropy' in page
    losses = [found['attack']['white_box']['digits']['fgsm'][1]['loss'] for found in (margin, entropy, double)]
    assert losses[0] == pytest.approx(losses[2], abs=0.02) and losses[0] not in losses[1:]
    # The margin is measured, whatever the objective of the attack.
    assert margin['attack']['clean'] == entropy['attack']['clean']
    assert margin['attack']['clean']['digits'] == pytest.approx(double['attack']['clean']['digits'], abs=1e-3)


def test_published_model_and_quotients(test, monkeypatch):
    starts = []

    class Recorded(evasion.ProjectedGradientDescent):
        def __init__(self, *arguments, num_random_init, **options):
            starts.append(num_random_init)
            super().__init__(*arguments, num_random_init=num_random_init, **options)

    monkeypatch.setattr(evasion, 'ProjectedGradientDescent', Recorded)
    results, page = test(
        'rescaps-tiny_digits', '--modes', 'affine', 'attack', '--attack-images', 8, '--steps', 2, '--queries', 2,
        '--epsilons', '8/255', 0.1, '--max-images', 20, '--draws', 1, '--restarts', 2,
    )  # fmt: skip
    assert starts == [2, 2, 2]  # two epsilons, and the unbounded attack
    assert results['attack']['epsilons'] == [8 / 255, 0.1]
    assert '| rescaps-tiny_digits | PGD |' in page
    assert '| model | attack | clean | eps 0.03137 | eps 0.1 |' in page
    assert '| model | test set | random affine transforms |' in page
    assert (
        'Ranges: rotation -20 to 20 degrees, shear -0.2 to 0.2, scale 0.8 to 1.2 in each direction, translation up to '
        '0.1 of the image.'
    ) in page


def test_value_outside_of_rotated_images(test):
    arguments = ('rescaps-tiny_digits', '--modes', 'rotation', '--angles', 0, 30, '--max-images', 60)
    (dark, _), (bright, _) = test(*arguments), test(*arguments, '--fill', 255)
    dark, bright = (found['rotation']['accuracy']['rescaps-tiny_digits'] for found in (dark, bright))
    assert dark[0] == bright[0] and dark[1] > bright[1]


NORB = """
_base_ = {base!r}
model = dict(backbone=dict(capsule_types=(2, 2, 2, 2)), head=dict(in_channels=34))
train_dataloader = dict(dataset=dict(data_root={root!r}, azimuth='familiar'))
val_dataloader = dict(dataset=dict(data_root={root!r}))
test_dataloader = val_dataloader
"""


@pytest.fixture
def norb(tmp_path, repository):
    """A config of the viewpoint experiment and a checkpoint of its untrained network."""
    write_norb(tmp_path, norb_arrays(side=96), stem='smallnorb-5x01235x9x18x6x2x96x96-testing')
    config = tmp_path / 'norb.py'
    base = str(repository / 'configs/rescaps/kicad_norb_small.py')
    config.write_text(NORB.format(base=base, root=str(tmp_path)))
    torch.manual_seed(0)
    cfg = Config.fromfile(config)
    checkpoint = tmp_path / 'norb.pth'
    torch.save({'state_dict': MODELS.build(cfg.model).state_dict()}, checkpoint)
    return str(config), str(checkpoint)


def test_viewpoints(test, norb):
    results, page = test(*norb, '--max-images', 324, '--angles', 0, 90, '--draws', 1)
    assert list(results) == ['affine', 'viewpoint', 'rotation']  # standardised images have no pixels to attack
    found = results['viewpoint']['norb']
    assert found['trained_on'] == {'azimuth': 'familiar', 'elevation': 'all'}
    assert set(found['azimuth']['curve']) <= {str(20 * step) for step in range(18)}
    assert set(found['elevation']['curve']) == {str(30 + 5 * step) for step in range(9)}
    for axis, share in (('azimuth', 1 / 3), ('elevation', 1 / 3)):
        mean = share * found[axis]['familiar'] + (1 - share) * found[axis]['novel']
        assert mean == pytest.approx(results['affine']['accuracy']['norb']['familiar'], abs=3)
    assert '| norb, azimuth | familiar |' in page


def test_mistakes(test, models, norb, capsys, monkeypatch):
    (first, second), config = models, models[0][0]

    def message(*arguments):
        with pytest.raises(SystemExit) as stop:
            test(*arguments)
        return f'{stop.value.code}{capsys.readouterr().err}'

    assert 'a CHECKPOINT must follow the config' in message(*first, config)
    assert 'viewpoint needs a data set with viewpoints, SmallNORB, not Digits' in message(
        *first, '--modes', 'viewpoint'
    )
    assert 'norb tests on other images than digits' in message(*first, *norb)
    assert message(*first, *first) == f'error: MODEL {" ".join(map(str, first))} is given twice.'
    assert 'images in bytes, and the test pipeline of norb returns torch.float32' in message(*norb, '--modes', 'attack')
    assert '--epsilons must be ascending, not [0.2, 0.1]' in message(*first, '--epsilons', 0.2, 0.1)
    assert 'argument --epsilons: must be above 0 and at most 1, not 8' in message(*first, '--epsilons', 8)
    assert 'checkpoint nowhere.pth does not exist' in message(config, 'nowhere.pth')
    assert 'is not one of this model' in message(config, second[1])
    hidden = {'art': None}
    monkeypatch.setattr('rescaps_plugin.cli.extras.find_spec', lambda package: hidden.get(package, package))
    assert "art is not installed: pip install '.[robustness]'" in message(*first, '--modes', 'attack')
