"""Training with the configs: resumed runs equal uninterrupted ones, and checkpoints load into timm."""

import pytest
import timm
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

import rescaps_plugin.classification.losses as capsule_losses
from rescaps_plugin.cli.config import load_config
from rescaps_plugin.training.runner import build_runner


class Interrupt(Hook):
    priority = 'LOWEST'

    def after_train_epoch(self, runner):
        if runner.epoch == 1:
            raise KeyboardInterrupt


class Progress(Hook):
    """Record the training progress that the loss reads."""

    def __init__(self):
        self.seen = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.seen.append(capsule_losses.training_progress())


@pytest.fixture
def digits(repository, tmp_path):
    def build(work_dir, *hooks, **changes) -> Runner:
        cfg = load_config(str(repository / 'configs/rescaps/digits.py'))
        cfg.work_dir = str(tmp_path / work_dir)
        cfg.launcher = 'none'
        # Without augmentation, whose random state is not saved.
        cfg.train_dataloader.dataset.update(indices=128, pipeline=cfg.val_dataloader.dataset.pipeline)
        cfg.train_dataloader.batch_size = 32
        cfg.val_dataloader.dataset.indices = 64
        cfg.train_cfg.max_epochs = 3
        cfg.experiment_name = work_dir.replace('/', '_') + str(len(hooks)) + str(sorted(changes))
        cfg.merge_from_dict(changes)
        return build_runner(cfg, *hooks)

    return build


def test_resumed_training_equals_uninterrupted_training(digits, tmp_path):
    whole_progress, first_progress, second_progress = Progress(), Progress(), Progress()
    whole = digits('whole', whole_progress)
    whole.train()
    interrupted = digits('resumed', first_progress, Interrupt())
    with pytest.raises(KeyboardInterrupt):
        interrupted.train()
    resumed = digits('resumed', second_progress, load_from=str(tmp_path / 'resumed' / 'epoch_1.pth'), resume=True)
    resumed.train()
    assert whole_progress.seen == pytest.approx([step / 12 for step in range(12)])
    assert first_progress.seen[:4] + second_progress.seen == whole_progress.seen
    for (name, expected), value in zip(
        whole.model.state_dict().items(), resumed.model.state_dict().values(), strict=True
    ):
        assert torch.equal(expected, value), name


def test_checkpoint_of_openmmlab_training_loads_into_timm(digits, tmp_path):
    runner = digits('trained', **{'train_cfg.max_epochs': 1})
    runner.train()
    model = timm.create_model(
        'rescaps_tiny',
        in_chans=1,
        img_size=16,
        pretrained=True,
        pretrained_cfg_overlay=dict(file=str(tmp_path / 'trained' / 'epoch_1.pth'), input_size=(1, 16, 16)),
    ).eval()
    images = torch.randn(3, 1, 16, 16)
    torch.testing.assert_close(model(images), runner.model.eval()(images, mode='tensor'))
