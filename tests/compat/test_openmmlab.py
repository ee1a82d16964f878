import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import sigmoid_focal_loss as torchvision_focal_loss

import rescaps_plugin  # noqa: F401  (installs the stand-in)
from rescaps_plugin.compat import openmmlab

ops = pytest.importorskip('mmcv.ops')


def run_python(code, *paths):
    """Run a program in a new interpreter with ``paths`` first in the module search path."""
    return subprocess.run(
        [sys.executable, '-c', code],
        env={'PYTHONPATH': ':'.join(map(str, paths)), 'PATH': '/usr/bin:/bin', 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
    )


def box_iou(one, two, offset):
    """Intersection over union of two boxes, by its definition."""
    width = min(one[2], two[2]) - max(one[0], two[0]) + offset
    height = min(one[3], two[3]) - max(one[1], two[1]) + offset
    shared = max(width, 0) * max(height, 0)
    area = [(box[2] - box[0] + offset) * (box[3] - box[1] + offset) for box in (one, two)]
    return shared / (sum(area) - shared)


class TestStandIn:
    def test_real_extension_wins(self, tmp_path, repository):
        (tmp_path / 'mmcv').mkdir()
        (tmp_path / 'mmcv' / '__init__.py').touch()
        (tmp_path / 'mmcv' / '_ext.py').write_text('real = True\n')
        # loaded by path, which also shows that it needs only the standard library
        code = 'import openmmlab; openmmlab.install(); import mmcv._ext; assert mmcv._ext.real'
        finished = run_python(code, tmp_path, repository / 'rescaps_plugin' / 'compat')
        assert finished.returncode == 0, finished.stderr

    def test_packages_are_found_without_pkg_resources(self, monkeypatch):
        from mmengine.config import config

        find_spec, before = openmmlab.find_spec, (config.is_installed, config.get_installed_path)
        monkeypatch.setattr(openmmlab, 'find_spec', lambda name: None if name == 'pkg_resources' else find_spec(name))
        with openmmlab.find_packages():
            assert (config.is_installed, config.get_installed_path) != before
            assert config.is_installed('mmcv-lite') is False and config.is_installed('mmcv')
            assert config.get_installed_path('mmengine') == str(Path(config.__file__).parents[1])
        assert (config.is_installed, config.get_installed_path) == before

    def test_plugin_waits_for_mmseg_to_be_imported(self, repository):
        pytest.importorskip('mmseg')
        code = (
            'import sys\n'
            'import rescaps_plugin\n'
            'print({name.partition(".")[0] for name in sys.modules} & {"mmcv", "mmengine", "mmpretrain", "mmseg"})\n'
            'import mmseg.models\n'
            'print(mmseg.models.UPerHead.__name__)\n'
        )
        finished = run_python(code, repository)
        assert finished.stdout.split() == ['set()', 'UPerHead'], finished.stderr

    def test_mmseg_imports_even_after_it_failed_without_the_plugin(self, repository):
        pytest.importorskip('mmseg')
        code = (
            'try:\n'
            '    import mmseg.models\n'
            'except ModuleNotFoundError as error:\n'
            '    print(error.name)\n'
            'import rescaps_plugin\n'
            'import mmseg.models\n'
            'print(mmseg.models.UPerHead.__name__)\n'
        )
        finished = run_python(code, repository)
        assert finished.stdout.split() == ['mmcv._ext', 'UPerHead'], finished.stderr

    def test_mmcv_before_the_plugin(self, repository):
        pytest.importorskip('mmseg')
        code = 'import mmcv.cnn.bricks.transformer\nimport rescaps_plugin\nimport mmseg.models\n'
        finished = run_python(code + 'print(mmseg.models.UPerHead.__name__)', repository)
        assert finished.stdout.split() == ['UPerHead'], finished.stderr

    def test_other_operators_raise_when_called(self):
        with pytest.raises(RuntimeError, match='roi_align_forward.*needs full mmcv'):
            ops.roi_align(torch.rand(1, 1, 4, 4), torch.tensor([[0.0, 0, 0, 2, 2]]), 2)

    def test_point_sample(self):
        image = torch.arange(4.0).view(1, 1, 2, 2)
        points = torch.tensor([[[0.25, 0.25], [0.75, 0.25], [0.5, 0.5]]])
        torch.testing.assert_close(ops.point_sample(image, points), torch.tensor([[[0.0, 1.0, 1.5]]]))


class TestFocalLoss:
    @given(
        rows=st.integers(1, 6),
        classes=st.integers(1, 5),
        gamma=st.sampled_from([0.0, 0.5, 2.0]),
        alpha=st.floats(0.0, 1.0),
        seed=st.integers(0, 1000),
    )
    def test_equals_torchvision(self, rows, classes, gamma, alpha, seed):
        torch.manual_seed(seed)
        target = torch.randint(0, classes + 1, (rows,))  # the last index is background
        one_hot = torch.nn.functional.one_hot(target, classes + 1)[:, :classes].double()
        ours = (torch.randn(rows, classes, dtype=torch.float64) * 4).requires_grad_()
        theirs = ours.detach().clone().requires_grad_()
        loss = ops.sigmoid_focal_loss(ours, target, gamma, alpha, None, 'none')
        expected = torchvision_focal_loss(theirs, one_hot, alpha, gamma)
        torch.testing.assert_close(loss, expected)
        factors = torch.rand_like(loss)
        (loss * factors).sum().backward()
        (expected * factors).sum().backward()
        torch.testing.assert_close(ours.grad, theirs.grad)

    def test_gradient_of_the_mean_numerically(self):
        logits = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
        target, weight = torch.tensor([0, 3, 1]), torch.rand(4, dtype=torch.float64)
        assert torch.autograd.gradcheck(lambda x: ops.sigmoid_focal_loss(x, target, 2.0, 0.25, weight, 'mean'), logits)

    def test_class_weights_follow_the_target(self):
        logits, target = torch.randn(3, 2), torch.tensor([1, 0, 1])
        plain = ops.sigmoid_focal_loss(logits, target, 2.0, 0.25, None, 'none')
        weighted = ops.sigmoid_focal_loss(logits, target, 2.0, 0.25, torch.tensor([3.0, 5.0]), 'none')
        torch.testing.assert_close(weighted, plain * torch.tensor([[5.0], [3.0], [5.0]]))

    def test_saturated_logits_stay_finite(self):
        logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
        loss = ops.sigmoid_focal_loss(logits, torch.tensor([1]), 2.0, 0.25, None, 'sum')
        loss.backward()
        assert loss.item() == pytest.approx(0.75 * 200 + 0.25 * 200)
        assert logits.grad.isfinite().all()


class TestNMS:
    @given(count=st.integers(1, 12), offset=st.sampled_from([0, 1]), seed=st.integers(0, 1000))
    def test_equals_greedy_suppression(self, count, offset, seed):
        torch.manual_seed(seed)
        corners = torch.rand(count, 2) * 8
        boxes = torch.cat([corners, corners + 1 + torch.rand(count, 2) * 6], dim=1)
        scores = torch.randperm(count) / count
        kept = []
        for i in scores.argsort(descending=True).tolist():
            if all(box_iou(boxes[i].tolist(), boxes[j].tolist(), offset) <= 0.4 for j in kept):
                kept.append(i)
        found, indices = ops.nms(boxes, scores, 0.4, offset=offset)
        assert indices.tolist() == kept
        torch.testing.assert_close(found, torch.cat([boxes[kept], scores[kept, None]], dim=1))


def test_upernet_learns_and_predicts(tmp_path):
    pytest.importorskip('mmseg')
    from mmengine.registry import init_default_scope
    from mmengine.structures import PixelData
    from mmseg.registry import MODELS
    from mmseg.structures import SegDataSample

    from rescaps_plugin.cli.config import load_config

    (tmp_path / 'upernet.py').write_text("""
_base_ = 'mmseg::_base_/models/upernet_r50.py'
norm_cfg = dict(type='BN', requires_grad=True)
head = dict(channels=8, num_classes=2, norm_cfg=norm_cfg)
model = dict(
    pretrained=None,
    data_preprocessor=dict(size=(32, 32)),
    backbone=dict(depth=18, base_channels=4, stem_channels=4, norm_cfg=norm_cfg),
    decode_head=dict(in_channels=[4, 8, 16, 32], **head),
    auxiliary_head=dict(in_channels=16, **head))
""")
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(load_config(str(tmp_path / 'upernet.py')).model)
    label = torch.zeros(1, 32, 32, dtype=torch.long)
    label[:, 8:24, 8:24] = 1
    image = label.mul(200).expand(3, -1, -1).byte()

    def batch():
        shapes = dict(img_shape=(32, 32), ori_shape=(32, 32))
        samples = [SegDataSample(gt_sem_seg=PixelData(data=label), metainfo=shapes) for _ in range(2)]
        return model.data_preprocessor(dict(inputs=[image, image], data_samples=samples), True)

    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    losses = []
    for _ in range(15):
        loss, _ = model.parse_losses(model(**batch(), mode='loss'))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
    predicted = model.eval()(**batch(), mode='predict')[0].pred_sem_seg.data
    assert predicted.shape == (1, 32, 32)
