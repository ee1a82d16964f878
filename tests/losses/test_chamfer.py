"""Chamfer distance against a k-d tree, closed forms and numerical gradients."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from rescaps_plugin.losses import ChamferLoss, chamfer, chamfer_distance


def clouds(batch, n, m, seed, dims=3, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(batch, size, dims, generator=generator, dtype=dtype) for size in (n, m))


def by_tree(points, target):
    """Return both mean squared distances to the nearest neighbour, computed with a k-d tree."""
    return [
        (cKDTree(y).query(x)[0] ** 2).mean() + (cKDTree(x).query(y)[0] ** 2).mean()
        for x, y in zip(points.numpy(), target.numpy(), strict=True)
    ]


@given(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40), st.integers(1, 4), st.integers(0, 2**16))
def test_equals_a_k_d_tree(batch, n, m, dims, seed):
    points, target = clouds(batch, n, m, seed, dims)
    torch.testing.assert_close(chamfer_distance(points, target).tolist(), by_tree(points, target))


def test_float32_clouds_far_from_the_origin_are_exact():
    """At this offset ``x^2 + y^2 - 2 x y`` loses all significant digits of the distance."""
    points, target = clouds(2, 300, 200, 0)
    points, target = ((1000 + 0.01 * cloud).float() for cloud in (points, target))
    expected = torch.tensor(by_tree(points.double(), target.double()), dtype=torch.float32)
    torch.testing.assert_close(chamfer_distance(points, target), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize('pairs', [1, 7, 50, 10**6])
def test_chunk_size_does_not_change_the_distance(monkeypatch, pairs):
    points, target = clouds(2, 23, 31, 1)
    expected = chamfer_distance(points, target)
    monkeypatch.setattr(chamfer, 'CPU_PAIRS', pairs)
    torch.testing.assert_close(chamfer_distance(points, target), expected, rtol=0, atol=0)


def test_gradients_numerically():
    points, target = (cloud.requires_grad_() for cloud in clouds(2, 6, 5, 2))
    assert torch.autograd.gradcheck(chamfer_distance, (points, target))


def test_one_point_pulls_only_its_neighbour():
    points = torch.zeros(1, 1, 3, requires_grad=True)
    target = torch.tensor([[[0.0, 0.0, 2.0], [0.0, 1.0, 0.0]]])
    distance = chamfer_distance(points, target)
    distance.sum().backward()
    assert distance.tolist() == [1 + (4 + 1) / 2]
    assert points.grad.tolist() == [[[0, -2 - 1, -2]]]


def test_is_symmetric_and_zero_only_for_the_same_points():
    points, target = clouds(2, 9, 7, 3)
    torch.testing.assert_close(chamfer_distance(points, target), chamfer_distance(target, points))
    shuffled = points[:, torch.randperm(9)]
    assert chamfer_distance(points, shuffled).tolist() == [0, 0]


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_clouds_are_compared_in_float32(dtype):
    points, target = (cloud.to(dtype) for cloud in clouds(2, 40, 30, 4))
    expected = chamfer_distance(points.float(), target.float())
    with torch.autocast('cpu', torch.bfloat16):
        result = chamfer_distance(points, target)
    assert result.dtype == torch.float32
    torch.testing.assert_close(result, expected, rtol=0, atol=0)


def test_pairs_are_not_all_kept_in_memory():
    """The backward pass saves points and neighbours, not all pairs, which are 128 times more."""
    points, target = clouds(2, 384, 384, 5, dtype=torch.float32)
    points.requires_grad_()
    largest = 0

    def pack(tensor):
        nonlocal largest
        largest = max(largest, tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        ChamferLoss()(points, target).backward()
    assert largest <= points.numel()


def test_pytorch3d_finds_the_neighbours_where_it_is_installed(monkeypatch, request):
    points, target = clouds(2, 20, 30, 6)
    expected = chamfer_distance(points, target)
    asked = []

    def knn_points(x, y, K=1):
        asked.append((tuple(x.shape), tuple(y.shape)))
        distance, index = torch.cdist(x, y).topk(K, largest=False)
        return SimpleNamespace(dists=distance.square(), idx=index)

    ops = ModuleType('pytorch3d.ops')
    ops.knn_points = knn_points
    monkeypatch.setitem(sys.modules, 'pytorch3d', ModuleType('pytorch3d'))
    monkeypatch.setitem(sys.modules, 'pytorch3d.ops', ops)
    chamfer._pytorch3d_knn.cache_clear()
    request.addfinalizer(chamfer._pytorch3d_knn.cache_clear)
    torch.testing.assert_close(chamfer_distance(points, target), expected, rtol=0, atol=0)
    assert asked == [((2, 20, 3), (2, 30, 3)), ((2, 30, 3), (2, 20, 3))]


def test_pytorch3d_is_looked_for_once(monkeypatch, request):
    found = []

    class Finder:
        def find_spec(self, name, *args):
            if name.startswith('pytorch3d'):
                found.append(name)

    monkeypatch.setattr(sys, 'meta_path', [Finder(), *sys.meta_path])
    chamfer._pytorch3d_knn.cache_clear()
    request.addfinalizer(chamfer._pytorch3d_knn.cache_clear)
    for seed in range(3):
        chamfer_distance(*clouds(2, 4, 5, seed))
    assert found == ['pytorch3d']


def test_loss_is_the_mean_over_the_batch():
    points, target = clouds(3, 5, 6, 7)
    torch.testing.assert_close(ChamferLoss()(points, target), chamfer_distance(points, target).mean())


@pytest.mark.parametrize(
    ('points', 'target'),
    [((4, 3), (4, 3)), ((2, 4, 3), (1, 4, 3)), ((1, 4, 3), (1, 4, 2)), ((1, 0, 3), (1, 4, 3)), ((1, 4, 3), (1, 0, 3))],
)
def test_mismatched_clouds_are_refused(points, target):
    with pytest.raises(ValueError, match=r'Chamfer distance takes .* got \('):
        chamfer_distance(torch.zeros(points), torch.zeros(target))


def test_empty_batch():
    assert chamfer_distance(torch.zeros(0, 5, 3), torch.zeros(0, 4, 3)).shape == (0,)
