"""``PoseGradientHook`` against hand-computed gradients."""

from types import SimpleNamespace

import torch
from torch import nn

from rescaps_plugin.analysis.gradients import PoseGradientHook


def test_norms_are_those_of_the_poses_gradients():
    # y = 3 (2 x), loss = sum of all: the gradient of every entry of 2 x is 3, of y it is 1.
    model = nn.Sequential(nn.Conv2d(1, 5, 1, bias=False), nn.Conv2d(5, 5, 1, bias=False, groups=5))
    nn.init.constant_(model[0].weight, 2.0)
    nn.init.constant_(model[1].weight, 3.0)
    hook = PoseGradientHook({'0': 4, '1': 3})
    runner = SimpleNamespace(model=model)
    hook.before_train(runner)
    for step in range(2):
        loss = model(torch.ones(2, 1, 3, 3)).sum()
        loss.backward()
        hook.after_train_iter(runner, step, outputs=dict(loss=loss))
    # Entries: 2 images, 4 and 3 channels of poses out of 5, 9 positions.
    expected = torch.tensor([3.0 * (2 * 4 * 9) ** 0.5, (2 * 3 * 9) ** 0.5])
    torch.testing.assert_close(torch.tensor(hook.norms), expected.expand(2, 2))
    assert hook.losses == [2 * 5 * 9 * 6.0] * 2


def test_passes_without_gradients_leave_nothing():
    model = nn.Sequential(nn.Conv2d(1, 2, 1))
    hook = PoseGradientHook({'0': 2})
    hook.before_train(SimpleNamespace(model=model))
    with torch.no_grad():
        model(torch.ones(1, 1, 2, 2))
    assert hook.norms == [] and not hook._maps
