"""Pages: every Python block runs as printed, and figures equal those of the metafiles and of the pages that they cite.

Of a block after ``<!-- not run: REASON -->`` only the imports are run. Scripts with arguments are run by other tests
(``tools/test_export_dense.py``).
"""

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

pytest.importorskip('mmpretrain')

from rescaps_plugin.cli.config import load_config  # noqa: E402
from rescaps_plugin.training.runner import build_runner  # noqa: E402

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'configs').glob('*/README.md')), *sorted((ROOT / 'docs').glob('*.md'))]
# Its blocks follow each other: tests/test_page_commands.py runs them in order.
OWN_IMAGES = ROOT / 'docs/own_images.md'
BLOCK = re.compile(r'^(<!-- not run: .+ -->\n)?```python\n(.*?)^```', re.DOTALL | re.MULTILINE)

CARDS = sorted((ROOT / 'rescaps_plugin/zoo/cards').glob('*.md'))
NUMBER = re.compile(r'\d+(?:\.\d+)?')


def blocks():
    for page in PAGES:
        text = page.read_text(encoding='utf-8')
        for match in BLOCK.finditer(text):
            if 'sys.argv' in match[2] or page == OWN_IMAGES:
                continue
            line = text[: match.start(2)].count('\n') + 1
            name = f'{page.relative_to(ROOT)}:{line}'
            yield pytest.param(page, match[2], match[1] is not None, id=name)


def write_checkpoint(folder, config, path):
    """Write an untrained checkpoint to the path that a page names."""
    cfg = load_config(str(ROOT / config), {'log_level': 'ERROR'})
    cfg.work_dir = str(folder / 'build')
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    meta = dict(dataset_meta=dict(cfg.test_dataloader.dataset.get('metainfo', {})))
    torch.save(dict(state_dict=build_runner(cfg).model.state_dict(), meta=meta), folder / path)


@pytest.fixture
def clone(tmp_path):
    """A folder with what the pages use of a clone, and with files that a reader has."""
    for name in ('configs', 'docs'):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in ('photo.jpg', 'photo.png', 'image.png'):
        Image.new('RGB', (48, 40), (200, 40, 40)).save(tmp_path / name)
    header = 'ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\nend_header'
    (tmp_path / 'cloud.ply').write_text(f'{header}\n0 0 0\n1 0 0\n0 1 0\n')
    return tmp_path


@pytest.mark.parametrize(('page', 'code', 'marked'), list(blocks()))
def test_python_block_runs(page, code, marked, clone):
    if re.search(r'^_base_ =|\{\{_base_', code, re.MULTILINE):  # a config
        bases = re.findall(r'^_base_ = .*\n', page.read_text(encoding='utf-8'), re.MULTILINE)
        (clone / 'config.py').write_text(code if '_base_ =' in code else bases[0] + code)
        pytest.importorskip('mmseg')
        assert load_config(str(clone / 'config.py')).model
        return
    if marked:
        tree = ast.parse(code)
        tree.body = [node for node in tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
        code = ast.unparse(tree)
    names = re.findall(r"'(configs/[^']+\.py)',\s*(?:pretrained=)?'([^']+)'", code)
    for config, checkpoint in names:
        pytest.importorskip('mmseg')
        write_checkpoint(clone, config, checkpoint)
    # Separate processes, so that imports and registrations of one block do not affect another.
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    result = subprocess.run([sys.executable, '-c', code], cwd=clone, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.mark.usefixtures('offline')
@pytest.mark.parametrize('card', [pytest.param(card, id=card.stem) for card in CARDS])
def test_python_block_of_card_runs(card, clone, monkeypatch):
    pytest.importorskip('mmseg')
    monkeypatch.chdir(clone)
    (code,) = (match[2] for match in BLOCK.finditer(card.read_text(encoding='utf-8')))
    exec(code, {})


def commands():
    """All tool commands on the pages, except those with shell variables and those that need folders."""
    for page in PAGES:
        text = page.read_text(encoding='utf-8').replace('\\\n', ' ')
        for command in re.findall(r'(?:python |`)(tools/\w+\.py [^`\n#]+)', text):
            if not re.search(r'[$|;<>]|\.\.\.|MAPS/', command):
                yield pytest.param(command.strip(), id=f'{page.relative_to(ROOT)}-{command.strip()}')


@pytest.mark.parametrize('command', list(commands()))
def test_command_is_valid(command, load_tool, monkeypatch):
    """The tool accepts the arguments, configs exist, and options match the config and are parsed, not strings."""
    monkeypatch.chdir(ROOT)
    tool, *words = shlex.split(command)
    arguments = [re.sub(r'^\w*CONFIG$', 'configs/rescaps/digits.py', word) for word in words]
    args = load_tool(Path(tool).stem).parse_args(arguments)
    config = getattr(args, 'config', None)
    if isinstance(config, str) and config.startswith(('configs/', 'mm')):
        cfg = load_config(config, getattr(args, 'cfg_options', None))
        assert 'dict(' not in str(getattr(args, 'cfg_options', None)) and cfg.model
    for argument in arguments:
        if re.fullmatch(r'configs/\S+\.py', argument):
            assert (ROOT / argument).is_file()


def metafile_results():
    for path in sorted((ROOT / 'configs').glob('*/metafile.yml')):
        for model in yaml.safe_load(path.read_text(encoding='utf-8')).get('Models') or []:
            for result in model.get('Results') or []:
                for metric, value in result['Metrics'].items():
                    yield pytest.param(path, model, metric, value, id=f'{model["Name"]}-{result["Dataset"]}-{metric}')


@pytest.mark.parametrize(('path', 'model', 'metric', 'value'), list(metafile_results()))
def test_figures_of_metafiles_are_on_the_page(path, model, metric, value):
    """Each figure is in a row of the family's page that names the config."""
    stem = Path(model['Config']).stem
    page = path.with_name('README.md').read_text(encoding='utf-8')
    rows = [line for line in page.splitlines() if line.startswith('|') and re.search(rf'\b{re.escape(stem)}\b', line)]
    figures = {float(number) for row in rows for number in NUMBER.findall(row)}
    assert float(value) in figures, f'{model["Config"]}: {metric} {value} is in no row of {path.parent.name}/README.md'


@pytest.mark.parametrize('name', ['README.md', 'docs/why.md'])
def test_figures_for_and_against_are_on_the_pages_that_are_cited(name):
    page = ROOT / name
    text = page.read_text(encoding='utf-8')
    if name == 'README.md':  # of the first page, the first screen
        text = text[: text.index('```shell')]
    links = re.findall(r'(?:\]\(|\]: )([\w./]+\.md)', text)
    cited = ' '.join((page.parent / link).read_text(encoding='utf-8') for link in {*links} - {'docs/why.md'})
    figures = re.findall(r'\d+\.\d+', text)
    assert len(figures) > 10
    assert not [figure for figure in figures if not re.search(rf'(?<![\d.]){re.escape(figure)}(?!\d)', cited)]


def test_first_page_is_short():
    assert len((ROOT / 'README.md').read_text(encoding='utf-8').splitlines()) <= 150


def test_checkpoints_on_pages_and_in_tools_match_the_schedules():
    """``work_dirs/<config>/epoch_<N>.pth`` is the last epoch of the config."""
    configs = {path.stem: path for path in (ROOT / 'configs').glob('*/*.py')}
    named = set()
    for page in [*PAGES, *(ROOT / 'tools').glob('*.py')]:
        named |= set(re.findall(r'work_dirs/([\w.-]+)/epoch_(\d+)\.pth', page.read_text(encoding='utf-8')))
    named = {(stem, int(epoch)) for stem, epoch in named if stem in configs}
    assert len(named) > 5
    for stem, epoch in named:
        assert load_config(str(configs[stem])).train_cfg.max_epochs == epoch, stem
