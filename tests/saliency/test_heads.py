"""ICONHead and TSPOAHead: equivalence with literal forms, input sizes, routings, deploy form, losses."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import ConfigDict
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from timm.utils import reparameterize_model
from torch import nn

from rescaps_plugin.layers import EMRouting, ResidualPoseRouting
from rescaps_plugin.losses import bce_iou_loss, contour_iou_loss
from rescaps_plugin.saliency.heads import ICONHead, TSPOAHead
from rescaps_plugin.saliency.heads.icon import AsymmetricConv

ROUTINGS = {
    'rpr': dict(type='rpr'),
    'pointwise': dict(type='rpr', routing='pointwise', residual='ones', num_layers=1),
    'em': dict(type='em', iterations=2),
    'dynamic': dict(type='dynamic', iterations=2),
    'self': dict(type='self'),
}
CHANNELS = (6, 5, 4, 3)
MAPS = ['pose', 'level1', 'level2', 'level3', 'saliency']


def icon(routing='rpr', **kwargs):
    torch.manual_seed(0)
    return ICONHead(CHANNELS, channels=16, capsule_types=2, routing=ROUTINGS.get(routing), **kwargs)


def tspoa(routing='rpr', **kwargs):
    torch.manual_seed(0)
    kwargs = dict(channels=8, primary_channels=4, capsule_types=4, decoder_channels=4) | kwargs
    return TSPOAHead(CHANNELS, routing=ROUTINGS[routing], **kwargs)


HEADS = [(icon, routing) for routing in (*ROUTINGS, None)] + [(tspoa, routing) for routing in ROUTINGS]


def features(height=24, width=18, batch=2):
    """Four levels as from strided convolutions: sizes are halved and rounded up."""
    generator = torch.Generator().manual_seed(1)
    maps = []
    for channels in CHANNELS:
        maps.append(torch.randn(batch, channels, height, width, generator=generator))
        height, width = -(-height // 2), -(-width // 2)
    return maps


def samples(size, batch=2, ori_shape=None):
    generator = torch.Generator().manual_seed(2)
    result = []
    for _ in range(batch):
        sample = SegDataSample(metainfo=dict(img_shape=size, ori_shape=ori_shape or size))
        sample.gt_sem_seg = PixelData(data=(torch.rand(1, *size, generator=generator) > 0.6).long())
        result.append(sample)
    return result


def disturb(module):
    """Randomise the statistics and scales of batch normalisations."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.3)
            nn.init.uniform_(layer.running_var, 0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 2)
            nn.init.normal_(layer.bias, std=0.3)
    return module.eval()


class Pyramid(nn.Module):
    """A backbone of four strided convolutions."""

    def __init__(self):
        super().__init__()
        sizes = zip((3, *CHANNELS), CHANNELS, strict=False)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in sizes)

    def forward(self, x):
        maps = []
        for conv in self.convs:
            x = F.relu(conv(x))
            maps.append(x)
        return tuple(maps)


def segmentor(head):
    cfg = dict(
        type='mmseg.EncoderDecoder',
        backbone=dict(type=Pyramid),
        decode_head=dict(type='mmseg.FCNHead', in_channels=3, channels=4, num_classes=2, out_channels=1, threshold=0.5),
        train_cfg=dict(),
        test_cfg=ConfigDict(mode='whole'),
    )
    model = MODELS.build(cfg)
    model.decode_head = head
    return model


@pytest.mark.parametrize(('build', 'routing'), HEADS)
@pytest.mark.parametrize('size', [(24, 18), (17, 31)])
def test_map_has_the_size_of_the_finest_level(build, routing, size):
    head, maps = build(routing).eval(), features(*size)
    with torch.no_grad():
        logit, side = head(maps), head.side_outputs(maps)
    assert logit.shape == (2, 1, *size)
    assert torch.isfinite(logit).all()
    assert list(side) == (MAPS if build is icon else ['saliency'])
    assert torch.equal(side['saliency'], logit)
    assert all(map_.shape[:2] == (2, 1) for map_ in side.values())


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([(icon, 'rpr'), (tspoa, 'rpr'), (icon, 'em')]))
@settings(max_examples=20)
def test_any_input_size(height, width, head):
    build, routing = head
    with torch.no_grad():
        assert build(routing).eval()(features(height, width, batch=1)).shape == (1, 1, height, width)


def test_levels_rounded_down_as_by_pooling():
    maps = [torch.randn(1, c, *size) for c, size in zip(CHANNELS, [(37, 51), (18, 25), (9, 12), (4, 6)], strict=True)]
    for head in (icon(), tspoa()):
        assert head.eval()(maps).shape == (1, 1, 37, 51)


@pytest.mark.parametrize(('build', 'routing'), HEADS)
def test_every_parameter_gets_a_gradient(build, routing):
    head = build(routing).train()
    losses = head.loss(features(), samples((48, 36)), None)
    assert len(losses) == (5 if build is icon else 2)
    sum(losses.values()).backward()
    dead = [name for name, parameter in head.named_parameters() if parameter.grad is None]
    assert dead == []


def conv_bn_relu(module, x):
    return F.relu(module.bn(module.conv(x)))


def literal_icon(head, maps):
    """The decoder level by level as described in the paper, with the head's parameters."""

    def up(x, like):
        return F.interpolate(x, like.shape[2:], mode='bilinear', align_corners=False)

    def aggregate(module, x):
        branches = module.asymmetric.branches
        asymmetric = sum(branch[1](branch[0](x)) for branch in branches)
        dilated = module.dilated[2](module.dilated[1](module.dilated[0](x)))
        return conv_bn_relu(module.fuse_branches, torch.cat([module.plain(x), asymmetric, dilated], 1))

    def enhance(module, level, deeper, shallower):
        x = conv_bn_relu(module.merge, torch.cat([level, up(deeper, level), up(shallower, level)], 1))
        context = ((x**2).sum((2, 3)) + 1e-5) ** 0.5
        return torch.einsum('bchw,bc->bchw', x, module.weigh(context))

    def refine(module, level, deeper):
        conv1, conv3 = module.layers
        return conv_bn_relu(conv3, conv1(level * up(deeper, level))) + level

    # in_channels are finest first, levels deepest first
    f4, f3, f2, f1 = maps
    x1, x2, x3, x4 = (aggregate(module, f) for module, f in zip(head.aggregations, (f1, f2, f3, f4), strict=True))
    deep, shallow = head.enhancements
    x1 = enhance(deep, x1, x1, x2)
    x2 = enhance(deep, x2, x1, x3)
    x3 = enhance(shallow, x3, x2, x4)
    x4 = enhance(shallow, x4, x3, x4)
    pwv = head.verification
    parts = conv_bn_relu(pwv.merge, torch.cat([up(x1, x2), x2, up(x3, x2)], 1))
    primary, routing = pwv.capsules
    capsules = primary.norm(primary.conv(parts))
    poses = 2 * 16
    capsules = routing(torch.cat([capsules[:, :poses], torch.sigmoid(capsules[:, poses:])], 1))
    pose = conv_bn_relu(pwv.project, pwv.pose_norm(capsules[:, :poses]))
    o1, o2, o3 = (
        conv_bn_relu(module, torch.cat([x, up(pose, x)], 1))
        for module, x in zip(head.verified, (x1, x2, x3), strict=True)
    )
    o2 = refine(head.refinements[0], o2, o1)
    o3 = refine(head.refinements[1], o3, o2)
    x4 = refine(head.refinements[2], x4, o3)
    return {name: head.predictors[name](x) for name, x in zip(MAPS, (pose, o1, o2, o3, x4), strict=True)}


def test_icon_equals_its_literal_form():
    head = disturb(icon('em'))
    with torch.no_grad():
        side, literal = head.side_outputs(features()), literal_icon(head, features())
    assert side.keys() == literal.keys()
    for name, logit in side.items():
        torch.testing.assert_close(logit, literal[name])
    # half of level 2's 6x5, rounded up
    assert side['pose'].shape[2:] == (3, 3)


def test_icon_has_part_capsules_or_residual_pose_blocks():
    (routing,) = (layer for layer in icon('em').modules() if isinstance(layer, EMRouting))
    assert (routing.in_types, routing.out_types, routing.stride, routing.iterations) == (2, 2, 2, 2)
    blocks = icon('rpr').verification.capsules
    assert [block.primary.pose.stride[0] for block in blocks] == [1, 2]
    assert [sum(isinstance(layer, ResidualPoseRouting) for layer in block) for block in blocks] == [2, 2]
    assert not any(isinstance(layer, EMRouting | ResidualPoseRouting) for layer in icon(None).modules())


def test_streams_divide_the_capsule_types():
    one, two = (
        TSPOAHead(CHANNELS, channels=8, capsule_types=16, routing=dict(type='em', streams=streams)).capsules
        for streams in (1, 2)
    )
    layers = [
        [(r.in_types, r.out_types, r.stride) for r in s.modules() if isinstance(r, EMRouting)] for s in (one, two)
    ]
    assert layers[0] == [(16, 16, 2), (16, 8, 1), (8, 2, 1)]
    assert layers[1] == [(8, 8, 2), (8, 4, 1), (8, 8, 2), (8, 4, 1), (8, 2, 1)]


def test_streams_are_independent():
    streams = tspoa('em', channels=8).capsules.streams
    two = TSPOAHead(CHANNELS, channels=8, capsule_types=8, routing=dict(type='em', streams=2)).capsules.streams
    x = torch.rand(1, 16, 8, 8)
    before = two(x)
    two.primary[1].pose.weight.data.mul_(2)
    after = two(x)
    # 2 types per stream: poses of both streams, then activations of both
    changed = [
        not torch.equal(a, b)
        for a, b in zip(before.split([32, 32, 2, 2], 1), after.split([32, 32, 2, 2], 1), strict=True)
    ]
    assert changed == [False, True, False, True]
    assert len(streams.primary) == 1


def test_tspoa_returns_the_difference_of_two_logits():
    head = disturb(tspoa('em'))
    maps, seen = features(32, 24), []
    head.predictor.register_forward_hook(lambda module, args, output: seen.append(output))
    with torch.no_grad():
        logit = head(maps)
        activation, size = head.object_activations(maps)
    assert activation.shape == (2, 2, 4, 3)
    assert (activation > 0).all() and (activation < 1).all()
    assert tuple(size) == (32, 24)
    (classes,) = seen
    torch.testing.assert_close(torch.sigmoid(logit), classes.softmax(dim=1)[:, 1:])


def test_asymmetric_conv_folds_into_one_convolution():
    layer = disturb(AsymmetricConv(3, 5)).double()
    x = torch.randn(2, 3, 9, 7, dtype=torch.float64)
    with torch.no_grad():
        expected = layer(x)
        torch.testing.assert_close(layer.fuse()(x), expected)
    assert [type(module) for module in layer.children()] == [nn.Conv2d]


@pytest.mark.parametrize(('build', 'routing'), HEADS)
def test_deploy_form_gives_the_same_map(build, routing):
    head = disturb(build(routing)).double()
    maps = [x.double() for x in features()]
    with torch.no_grad():
        expected = {name: logit.clone() for name, logit in head.side_outputs(maps).items()}
        assert head.fuse() is head
        for name, logit in head.side_outputs(maps).items():
            torch.testing.assert_close(logit, expected[name])
    with pytest.raises(RuntimeError, match='deploy form'):
        head.train()


def test_timm_finds_the_deploy_form_of_a_segmentor():
    model = disturb(segmentor(icon())).double()
    x = torch.randn(1, 3, 64, 48, dtype=torch.float64)
    with torch.no_grad():
        deployed = reparameterize_model(model)
        torch.testing.assert_close(deployed(x), model(x))
    assert not any(isinstance(layer, AsymmetricConv) and not layer.deployed for layer in deployed.modules())
    assert sum(p.numel() for p in deployed.parameters()) < sum(p.numel() for p in model.parameters())


def test_losses_are_of_every_map_resized_to_the_masks():
    head, maps, masks = icon().eval(), features(), samples((48, 36))
    masks[1].gt_sem_seg.data[:, 40:] = 255
    with torch.no_grad():
        losses, side = head.loss(maps, masks, None), head.side_outputs(maps)
    label = torch.stack([sample.gt_sem_seg.data for sample in masks])
    for name in MAPS:
        logit = F.interpolate(side[name], (48, 36), mode='bilinear', align_corners=False)
        key = 'loss_bce_iou' if name == 'saliency' else f'{name}.loss_bce_iou'
        expected = bce_iou_loss(logit, label == 1, label != 255)
        assert losses[key].item() == pytest.approx(expected.item(), rel=1e-5)


def test_tspoa_learns_from_cross_entropy_and_contours():
    head, maps, masks = tspoa('em').eval(), features(), samples((24, 18))
    with torch.no_grad():
        losses, logit = head.loss(maps, masks, None), head(maps)
    label = torch.stack([sample.gt_sem_seg.data for sample in masks]).float()
    assert losses['loss_ce'].item() == pytest.approx(F.binary_cross_entropy_with_logits(logit, label).item(), rel=1e-5)
    assert losses['loss_contour_iou'].item() == pytest.approx(contour_iou_loss(logit, label).item(), rel=1e-5)


@pytest.mark.parametrize('build', [icon, tspoa])
def test_segmentor_gives_saliency_at_the_size_of_the_file(build):
    model = segmentor(build(threshold=0.4)).eval()
    x = torch.randn(1, 3, 50, 70)
    with torch.no_grad():
        logit = model(x)
        (sample,) = model.predict(x, samples((50, 70), batch=1, ori_shape=(31, 90)))
    saliency = sample.seg_logits.data
    resized = F.interpolate(F.interpolate(logit, (50, 70), mode='bilinear'), (31, 90), mode='bilinear')
    torch.testing.assert_close(saliency, torch.sigmoid(resized)[0])
    assert torch.equal(sample.pred_sem_seg.data.bool(), saliency > 0.4)


@pytest.mark.parametrize(('build', 'routing'), [(icon, 'rpr'), (icon, 'em'), (tspoa, 'rpr'), (tspoa, 'em')])
def test_half_precision(build, routing):
    head, maps = build(routing).eval(), features()
    with torch.no_grad():
        expected = head(maps)
        with torch.autocast('cpu', torch.bfloat16):
            logit = head(maps)
    assert (torch.sigmoid(logit.float()) - torch.sigmoid(expected)).abs().max() < 0.05


@pytest.mark.parametrize(
    'head',
    [icon('rpr'), icon('em'), icon(None), tspoa('rpr', channels=32, primary_channels=16, decoder_channels=16)],
    ids=['icon-rpr', 'icon-em', 'icon', 'tspoa-rpr'],
)
def test_head_learns_a_map(head):
    head.train()
    masks = torch.zeros(2, 1, 24, 24)
    masks[0, :, 3:12, 3:15] = 1
    masks[1, :, 10:22, 8:20] = 1
    generator = torch.Generator().manual_seed(0)
    maps = [
        F.adaptive_avg_pool2d(masks, size) * torch.randn(1, c, 1, 1, generator=generator)
        for c, size in zip(CHANNELS, (24, 12, 6, 3), strict=True)
    ]
    batch = [SegDataSample() for _ in masks]
    for sample, mask in zip(batch, masks, strict=True):
        sample.gt_sem_seg = PixelData(data=mask.long())
    optimizer = torch.optim.Adam(head.parameters(), lr=0.01)
    for _ in range(40):
        loss = sum(head.loss(maps, batch, None).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    error = (torch.sigmoid(head(maps)) - masks).abs().mean()
    assert error < 0.1


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(in_channels=CHANNELS[:3]), '4 levels of features, got in_channels of 3'),
        (dict(in_channels=CHANNELS, routing=dict(type='voting')), "'self'.*got 'voting'"),
        (dict(in_channels=CHANNELS, num_classes=3), 'num_classes must be 2 and out_channels 1, got 3'),
    ],
)
def test_icon_error_messages(arguments, message):
    with pytest.raises(ValueError, match=message):
        ICONHead(**arguments)


def test_streams_with_odd_types_are_refused():
    with pytest.raises(ValueError, match='share 6 capsule types in even numbers, got 2'):
        TSPOAHead(CHANNELS, capsule_types=6, routing=dict(type='em', streams=2))
