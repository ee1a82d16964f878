"""``tools/publish.py``: what it writes, and what it refuses."""

import json
import shutil

import pytest
import timm
import torch
import yaml
from mmengine.registry import DefaultScope

from rescaps_plugin.cli.config import load_config
from rescaps_plugin.models import published
from rescaps_plugin.models.published import find_published, read_index, read_published
from rescaps_plugin.zoo import cards, publishing

SOURCE = 'rescaps://rescaps-tiny_digits'
FACTS = ['--data', 'Digits', '--data-license', 'CC BY 4.0', '--train', '1,437 images', '--test', '360 images']
FACTS += ['--command', 'python tools/train.py configs/rescaps/digits.py --seed 3', '--seed', 3, '--time', '1 minute']
FACTS += ['--machine', '2 cores', '--tag', 'capsule-network', '--limit', 'Digits only.']


@pytest.fixture
def publish(tmp_path, monkeypatch, repository, load_tool):
    """``tools/publish.py`` in a copy of the zoo and of the configs."""
    for folder in ('_base_', 'rescaps'):
        shutil.copytree(repository / 'configs' / folder, tmp_path / 'configs' / folder)
    shutil.copytree(published.ZOO, tmp_path / 'zoo')
    shutil.copy(repository / 'README.md', tmp_path)
    for module in (published, cards, publishing):
        monkeypatch.setattr(module, 'ZOO', tmp_path / 'zoo')
    monkeypatch.setattr(publishing, 'ROOT', tmp_path)
    monkeypatch.chdir(tmp_path)
    read_index.cache_clear()

    def run(config='configs/rescaps/digits.py', checkpoint=SOURCE, name='again_digits', metric='99.44', *options):
        arguments = [config, checkpoint, name, '--metric', f'accuracy/top1={metric}', *FACTS, *options]
        load_tool('publish').main([*map(str, arguments)])

    yield run
    read_index.cache_clear()


def test_published_model_is_complete(publish, tmp_path, repository):
    weights = read_published(find_published('rescaps-tiny_digits'))
    publish('configs/rescaps/digits.py', SOURCE, 'again_digits', '99.44', '--timm', 'rescaps_tiny.again')
    model = find_published('rescaps_tiny.again')
    assert (model.name, model.seed, model.samples, model.labels) == ('again_digits', 3, 360, tuple('0123456789'))
    assert model.timm == {**find_published('rescaps_tiny.digits').timm, 'name': 'rescaps_tiny.again'}
    assert model.metrics == find_published('rescaps_tiny.digits').metrics
    assert all(torch.equal(value, weights[name]) for name, value in read_published(model).items())
    assert (tmp_path / 'zoo/cards/again_digits.md').read_text() == cards.format_card(model)
    names = [entry['name'] for entry in json.loads((tmp_path / 'zoo/index.json').read_text())]
    assert names == [each.name for each in read_index()] and len(names) == len(set(names))
    entries = yaml.safe_load((tmp_path / 'configs/rescaps/metafile.yml').read_text())['Models']
    (entry,) = [entry for entry in entries if entry['Config'] == 'configs/rescaps/digits.py']
    assert entry['Name'] == 'again_digits' and entry['Weights'] == 'rescaps://again_digits'
    page, ours = (folder / 'README.md' for folder in (tmp_path, repository))
    row = next(line for line in cards.format_table().splitlines() if 'again_digits' in line)
    assert page.read_text(encoding='utf-8').replace(f'{row}\n', '') == ours.read_text(encoding='utf-8')
    # publishing again replaces the model
    publish('configs/rescaps/digits.py', SOURCE, 'again_digits', '99.4', '--dtype', 'int8', '--commit', '0123abc')
    assert [each.name for each in read_index()] == names
    assert find_published('again_digits').commit == '0123abc'
    assert find_published('again_digits').dtype == 'int8' and not find_published('again_digits').timm


def test_network_of_any_image_size():
    weights = timm.create_model('resnet18_cifar', in_chans=1).state_dict()
    cfg = load_config('rescaps::resnet_cifar/resnet18_digits.py')
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        entries = publishing._describe_timm('resnet18_cifar.digits', cfg, weights)
    assert entries['input_size'] == (1, 16, 16) and entries['pool_size'] == (2, 2) and entries['num_classes'] == 10


def test_mistakes_change_nothing(publish, tmp_path, repository, capsys):
    def files():
        return {path: path.read_bytes() for path in tmp_path.rglob('*') if path.is_file()}

    def message(*arguments):
        with pytest.raises(SystemExit) as stop:
            publish(*arguments)
        return f'{stop.value.code}{capsys.readouterr().err}'

    other = tmp_path / 'configs/rescaps/other.py'
    other.write_text("_base_ = 'digits.py'\ndefault_scope = 'mmdet'\n")
    before = files()
    config = 'configs/rescaps/digits.py'
    assert 'accuracy/top1=99.45: the test of the checkpoint gives 99.44' in message(config, SOURCE, 'a', '99.45')
    assert "must be NAME=NUMBER, such as accuracy/top1=99.44, not 'accuracy/top1=x'" in message(
        config, SOURCE, 'a', 'x'
    )
    assert 'the name of a network of timm and a tag' in message(config, SOURCE, 'a', '99.44', '--timm', 'rescaps_tiny')
    assert 'the network is not the one of the config' in message(
        config, SOURCE, 'a', '99.44', '--timm', 'rescaps_small.digits'
    )
    assert "letters, digits and . _ + -, got '../a'" in message(config, SOURCE, '../a')
    taken = '--timm rescaps_tiny.digits: that is rescaps-tiny_digits already'
    assert taken in message(config, SOURCE, 'a', '99.44', '--timm', 'rescaps_tiny.digits')
    assert 'rescaps://b: no published model is named' in message(config, 'rescaps://b', 'a')
    scope = "has default_scope 'mmdet'; it may be mmpretrain, mmseg, mmengine"
    assert scope in message(other, SOURCE, 'a')
    outside = repository / 'configs/rescaps/digits.py'
    assert 'is not in a folder of' in message(outside, SOURCE, 'a')
    assert files() == before
