"""Every shell block of every page runs: bash expands its loops and variables, and the tools run on a few samples.

Configs are shortened to one epoch of a few samples, and tools that measure or train by themselves get arguments that
shorten them. Files that a block reads and does not write are provided: untrained checkpoints, images, clouds. If the
data set of a command is not on this machine, the command is parsed and its config is read. Of commands that differ in
numbers alone, such as the seeds of a loop, the first runs. Candidates of benchmarks are built, not measured.
"""

import importlib
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from PIL import Image
from torch import nn

for package in ('mmpretrain', 'mmseg', 'h5py'):
    pytest.importorskip(package)

import rescaps_plugin  # noqa: E402
from rescaps_plugin.analysis.benchmark.arguments import parse_args  # noqa: E402
from rescaps_plugin.analysis.benchmark.candidates import parse_candidate  # noqa: E402
from rescaps_plugin.analysis.benchmark.sweep import fill  # noqa: E402
from rescaps_plugin.cli.config import inner_datasets  # noqa: E402
from rescaps_plugin.cli.config import load_config as LOAD  # noqa: E402, N812
from rescaps_plugin.models.published import read_index  # noqa: E402
from tests.test_pages import OWN_IMAGES, PAGES, ROOT, write_checkpoint  # noqa: E402

BLOCK = re.compile(r'^```(shell|python)\n(.*?)^```', re.DOTALL | re.MULTILINE)
ARCHIVES = {'CIFAR10': 'cifar-10-batches-py', 'CIFAR100': 'cifar-100-python'}
CHECKPOINT = r'\S+\.pth|CHECKPOINT'
SAMPLES = 8

# Replacements for the placeholders of a page.
PLACEHOLDERS = {
    'docs/openmmlab.md': {'IMAGE_OR_FOLDER': 'photos'},
    'docs/saliency.md': {'CONFIG': 'configs/icon/icon-rpr_efficientnet-lite0_ecssd.py'},
    'configs/icon/README.md': {'CONFIG': 'configs/icon/icon-rpr_efficientnet-lite0_synthetic.py'},
    'configs/pointcaps/README.md': {
        'CONFIG': 'configs/pointcaps/pointcaps-rpr_digitclouds.py',
        'RPR_CONFIG': 'configs/pointcaps/pointcaps-rpr_digitclouds.py',
        'DYNAMIC_CONFIG': 'configs/pointcaps/pointcaps-dynamic_digitclouds.py',
    },
}
# Arguments that shorten a tool; they come last and override those of the page.
SHORT = {
    'analyse_depth': ['--depths', '1', '--epochs', '1', '--indices', '32', '--batch-size', '16'],
    'analyse_sod': ['--max-images', '2', '--common'],
    'eval_sod': ['--common'],
    'export': ['--calibration-images', '2'],
    'reproduce': ['--dry-run'],
    'robustness': [
        *('--max-images', '4', '--attack-images', '2', '--steps', '1', '--queries', '2', '--draws', '1'),
        *('--angles', '0', '30'),
    ],
    'transfer_svm': ['--fractions', '1'],
    'visualise_capsules': ['--curve-images', '4'],
}


def blocks():
    for page in PAGES:
        text = page.read_text(encoding='utf-8')
        for match in BLOCK.finditer(text):
            if match[1] == 'shell' and page != OWN_IMAGES:
                line = text[: match.start(2)].count('\n') + 1
                name = str(page.relative_to(ROOT))
                yield pytest.param(name, match[2], id=f'{name}:{line}')


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A clone to run in, with the reader's own files and mock programs that only record their arguments."""
    shutil.copytree(ROOT / 'configs', tmp_path / 'configs')
    for name in ('docs', 'tests'):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / 'data').mkdir()
    for data in (ROOT / 'data').glob('*'):
        (tmp_path / 'data' / data.name).symlink_to(data.resolve())
    (tmp_path / 'bin').mkdir()
    (tmp_path / 'tools').mkdir()
    scripts = [tmp_path / 'tools' / script.name for script in (ROOT / 'tools').glob('*.sh')]
    for script in (*(tmp_path / 'bin' / name for name in ('python', 'pip', 'rescaps', 'sphinx-build')), *scripts):
        script.write_text('#!/bin/sh\nprintf "%s\\n" "$(basename "$0")" "$@" "" >>commands\n')
        script.chmod(0o755)
    counts = {'train': 12, 'test': 3}
    names = [f'{split}/{name}/{i}' for split, count in counts.items() for name in 'xyz' for i in range(count)]
    own = [f'data/images/{name}.png' for name in names]
    for image in ('photos/a.jpg', 'photos/b.png', 'photo.jpg', 'digit.png', *own):
        (tmp_path / image).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.RandomState(0).randint(0, 255, (40, 48, 3), np.uint8)).save(tmp_path / image)
    # Commands that read standard input run in this process.
    monkeypatch.setattr('sys.stdin', (tmp_path / 'photo.jpg').open())
    clip = cv2.VideoWriter(str(tmp_path / 'clip.mp4'), cv2.VideoWriter_fourcc(*'mp4v'), 10, (48, 40))
    for grey in (50, 200):
        clip.write(np.full((40, 48, 3), grey, np.uint8))
    clip.release()
    for method in 'AB':
        (tmp_path / 'MAPS' / method).mkdir(parents=True)
        for mask in sorted((ROOT / 'data/ECSSD/ground_truth_mask').glob('05*.png'))[:2]:
            shutil.copy(mask, tmp_path / 'MAPS' / method)
    (tmp_path / 'chair.off').write_text('OFF\n4 4 0\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n3 0 1 2\n3 0 1 3\n3 0 2 3\n3 1 2 3\n')
    monkeypatch.chdir(tmp_path)
    # MMEngine formats a config whenever it logs or saves it, in a fifth of the time of these tests.
    monkeypatch.setattr('mmengine.config.config.FormatCode', lambda text, **style: (text, False))
    # All modules, so that none is imported while the function is replaced and keeps the replacement.
    for found in pkgutil.walk_packages(rescaps_plugin.__path__, 'rescaps_plugin.'):
        if not found.name.startswith('rescaps_plugin.engine') and not found.name.endswith('__main__'):
            module = importlib.import_module(found.name)
            if getattr(module, 'load_config', None) is LOAD:
                monkeypatch.setattr(module, 'load_config', load_short)
    return tmp_path


def load_short(config, options=None):
    """Read a config, shortened to an epoch over the first samples in the main process."""
    cfg = LOAD(config, options)
    cfg.log_level = 'ERROR'
    for phase in ('train', 'val', 'test'):
        loader = cfg.get(f'{phase}_dataloader')
        if not loader:
            continue
        loader.update(num_workers=0, persistent_workers=False, batch_size=min(loader.batch_size, SAMPLES // 2))
        for dataset in inner_datasets(loader.dataset):
            dataset['num_images' if dataset['type'] == 'SyntheticSOD' else 'indices'] = SAMPLES
    if 'max_epochs' in (cfg.get('train_cfg') or {}):
        cfg.train_cfg.max_epochs = cfg.train_cfg.val_interval = 1
    return cfg


def expand(block, folder):
    """Return the commands of a block as bash runs it; of those that differ only in numbers, the first."""
    environment = {**os.environ, 'PATH': f'{folder / "bin"}:{os.environ["PATH"]}'}
    subprocess.run(['bash', '-euc', block], cwd=folder, env=environment, check=True)
    commands = [command.split('\n') for command in (folder / 'commands').read_text().split('\n\n')[:-1]]
    return list({re.sub(r'\d+', '0', ' '.join(command)): command for command in reversed(commands)}.values())[::-1]


def missing_data(cfg):
    """Return the first folder that the data sets of a config need and this machine lacks."""
    for phase in ('train', 'val', 'test'):
        loader = cfg.get(f'{phase}_dataloader')
        for dataset in inner_datasets(loader.dataset) if loader else ():
            root = dataset.get('data_root')
            # mmpretrain's own files and folders of images may be in the same place.
            if root and not Path(root, ARCHIVES.get(dataset['type'], '')).exists():
                return root
    return None


def provide_checkpoint(config, path):
    """Write the checkpoint that a page names: that of a shortened training, or untrained weights."""
    trained = path.with_name('epoch_1.pth')
    if trained.exists():
        shutil.copy(trained, path)
    else:
        write_checkpoint(Path.cwd(), config, path)


def run(command, page, load_tool):
    """Run a command in this process, as far as its data sets are available."""
    program, first, *arguments = [*command, '']
    arguments = arguments[:-1]
    name = Path(first).stem
    if program not in ('python', 'rescaps') or name == 'launch':
        return
    words = []
    for word in arguments:
        if word == '--compile':  # which takes a minute
            continue
        word = PLACEHOLDERS.get(page, {}).get(word, word)
        if re.fullmatch(CHECKPOINT, word):
            # The word before a checkpoint is its config.
            path = Path(word if word.endswith('.pth') else f'given/{Path(words[-1]).stem}-{len(words)}.pth')
            if not path.exists() and missing_data(load_short(words[-1])) is None:
                provide_checkpoint(words[-1], path)
            word = str(path)
        words.append(word)
    if name == 'benchmark':
        args = parse_args(words)
        point = {key: values[0] for key, values in args.sweep or ()}
        for candidate in args.names:
            found = parse_candidate(fill(candidate, point))
            if found.trained:
                assert Path(LOAD(found.trained[0]).filename).is_file()
            else:
                assert isinstance(found.build(), nn.Module)
        return
    tool = load_tool(name)
    args = tool.parse_args(words)
    if name == 'demo':  # which serves until it is stopped
        return
    published = {each.name: each.arguments[0] for each in read_index()}
    for word in words:
        word = published.get(word, word)
        if word.startswith('data/') and name != 'prepare_affnist' and not Path(word).exists():
            return
        if re.fullmatch(r'((configs|work_dirs)/|\w+::).*\.py', word):
            if missing_data(load_short(word, getattr(args, 'cfg_options', None))):
                return
    tool.main([*words, *SHORT.get(name, ())])
    if name == 'train':
        work_dir = args.work_dir or Path('work_dirs', Path(words[0].rpartition(':')[2]).stem)
        assert Path(work_dir, 'last_checkpoint').is_file(), command


@pytest.mark.parametrize(('page', 'block'), list(blocks()))
def test_shell_block_runs(page, block, folder, load_tool):
    for command in expand(block, folder):
        run(command, page, load_tool)


@pytest.mark.slow
def test_own_images(folder, load_tool):
    """The page runs from top to bottom, on a small folder of images; commands that train are shortened."""
    for language, code in BLOCK.findall(OWN_IMAGES.read_text(encoding='utf-8')):
        if language == 'shell':
            for command in expand(code, folder):
                run(command, 'docs/own_images.md', load_tool)
            continue
        environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
        result = subprocess.run([sys.executable, '-c', code], env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
    for name in ('flowers', 'flowers_timm', 'flowers_torch'):
        session = onnxruntime.InferenceSession(f'{name}.onnx')
        (given,) = session.get_inputs()
        images = np.zeros((1, *given.shape[1:]), np.float32)
        (scores,) = session.run(None, {given.name: images})
        assert scores.shape == (1, 3)
