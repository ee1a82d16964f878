"""The capsule head and losses in mmpretrain's classifier."""

import pytest
import torch
from mmengine.logging import MessageHub
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

import rescaps_plugin.classification  # noqa: F401
from rescaps_plugin.losses import margin_loss, spread_loss


@pytest.fixture
def training_at():
    """Simulate a training loop at an iteration."""
    names = []

    def at(iteration, max_iters):
        names.append(f'training {len(names)}')
        hub = MessageHub.get_instance(names[-1])
        hub.update_info('iter', iteration)
        hub.update_info('max_iters', max_iters)

    yield at
    for name in names:
        MessageHub._instance_dict.pop(name)


def head(**kwargs):
    return MODELS.build(dict(type='CapsuleClsHead', num_classes=4, in_channels=34, feature_size=2) | kwargs)


def samples(*labels):
    return [DataSample().set_gt_label(label) for label in labels]


FEATURES = (torch.randn(3, 17, 4, 4), torch.randn(3, 34, 2, 2))


def test_margin_follows_the_training_loop(training_at):
    activation, target = torch.rand(3, 4), torch.tensor([0, 1, 3])
    loss = MODELS.build(dict(type='SpreadLoss', margin=(0.1, 0.5), loss_weight=2.0))
    assert loss(activation, target) == 2 * spread_loss(activation, target, 0.5).mean()
    for iteration, margin in ((0, 0.1), (50, 0.3), (100, 0.5)):
        training_at(iteration, 100)
        torch.testing.assert_close(loss(activation, target), 2 * spread_loss(activation, target, margin).mean())


def test_default_margin_grows_from_02_to_09(training_at):
    activation, target = torch.rand(3, 4), torch.tensor([0, 1, 3])
    loss = MODELS.build(dict(type='SpreadLoss'))
    for iteration, margin in ((0, 0.2), (100, 0.9)):
        training_at(iteration, 100)
        torch.testing.assert_close(loss(activation, target), spread_loss(activation, target, margin).mean())


def test_reductions_weights_and_logits():
    logits, target = torch.randn(3, 4), torch.tensor([0, 1, 3])
    weight = torch.tensor([1.0, 0.0, 0.5])
    loss = MODELS.build(dict(type='MarginLoss', use_sigmoid=True))
    each = margin_loss(logits.sigmoid(), target)
    torch.testing.assert_close(loss(logits, target, reduction_override='none'), each)
    torch.testing.assert_close(loss(logits, target, reduction_override='sum'), each.sum())
    torch.testing.assert_close(loss(logits, target, weight=weight, avg_factor=2), (each * weight).sum() / 2)
    with pytest.raises(ValueError, match="reduction_override must be one of .*'max'"):
        loss(logits, target, reduction_override='max')


@pytest.mark.parametrize('kind', ['SpreadLoss', 'MarginLoss'])
def test_losses_train_heads_without_capsules(kind):
    linear = MODELS.build(
        dict(type='LinearClsHead', num_classes=4, in_channels=34, loss=dict(type=kind, use_sigmoid=True))
    )
    loss = linear.loss((torch.randn(3, 34),), samples(0, 1, 2))['loss']
    loss.backward()
    assert linear.fc.weight.grad.abs().sum() > 0


def test_loss_of_the_head_is_that_of_its_activations():
    module = head(cal_acc=True)
    result = module.loss(FEATURES, samples(0, 1, 2))
    torch.testing.assert_close(result['loss'], spread_loss(module(FEATURES), torch.tensor([0, 1, 2]), 0.9).mean())
    assert 0 <= float(result['accuracy_top-1'][0]) <= 100


def test_mixup_targets_are_supported():
    module = head().eval()
    mixed = [
        DataSample().set_gt_score(torch.tensor(score)) for score in ([0.3, 0.7, 0, 0], [0, 0, 1.0, 0], [0, 0.5, 0, 0.5])
    ]
    activation = module(FEATURES)
    first = 0.3 * spread_loss(activation[:1], torch.tensor([0]), 0.9) + 0.7 * spread_loss(
        activation[:1], torch.tensor([1]), 0.9
    )
    second = spread_loss(activation[1:2], torch.tensor([2]), 0.9)
    third = 0.5 * spread_loss(activation[2:], torch.tensor([1]), 0.9) + 0.5 * spread_loss(
        activation[2:], torch.tensor([3]), 0.9
    )
    torch.testing.assert_close(module.loss(FEATURES, mixed)['loss'], torch.cat([first, second, third]).mean())


def test_predictions_are_unchanged_activations():
    module = head().eval()
    activation = module(FEATURES)
    predictions = module.predict(FEATURES, samples(3, 2, 1))
    for prediction, expected, label in zip(predictions, activation, (3, 2, 1), strict=True):
        torch.testing.assert_close(prediction.pred_score, expected)
        assert prediction.pred_label == expected.argmax() and prediction.gt_label == label
    assert len(module.predict(FEATURES)) == 3


def test_features_and_pools():
    assert head().pre_logits(FEATURES).shape == (3, 34 * 4)
    average = head(global_pool='avg', feature_size=None)
    assert average((torch.randn(2, 34, 5, 3),)).shape == (2, 4)
    with pytest.raises(ValueError, match='feature_size must be given'):
        head(feature_size=None)
    with pytest.raises(ValueError, match='num_classes must be positive, got 0'):
        head(num_classes=0)


def test_classifier_end_to_end_in_both_forms():
    config = dict(
        type='ImageClassifier',
        backbone=dict(type='ResCaps', in_channels=1, capsule_types=(2, 2)),
        head=dict(type='CapsuleClsHead', num_classes=4, in_channels=34, feature_size=4),
    )
    torch.manual_seed(0)
    classifier = MODELS.build(config)
    images = torch.randn(8, 1, 16, 16)
    optimiser = torch.optim.Adam(classifier.parameters(), lr=0.01)
    losses = []
    for _ in range(15):
        loss = classifier(images, samples(*range(4), *range(4)), mode='loss')['loss']
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    classifier.eval().double()
    images = images.double()
    expected = classifier(images, mode='tensor')
    classifier.backbone.switch_to_deploy()
    classifier.head.caps.fuse()
    torch.testing.assert_close(classifier(images, mode='tensor'), expected)
    config['backbone']['deploy'] = config['head']['deploy'] = True
    deployed = MODELS.build(config).double()
    deployed.load_state_dict(classifier.state_dict())
    torch.testing.assert_close(deployed(images, mode='tensor'), expected)


LOGIT_LOSSES = [
    dict(type='CrossEntropyLoss'),
    dict(type='CrossEntropyLoss', use_sigmoid=True),
    dict(type='LabelSmoothLoss', label_smooth_val=0.1, num_classes=4),
    dict(type='FocalLoss'),
    dict(type='SpreadLoss', use_sigmoid=True),
    dict(type='MarginLoss', use_sigmoid=True),
]


def timm_classifier(**kwargs):
    network = dict(type='TimmCapsuleClassifier', model_name='em_caps_tiny', num_classes=4, in_chans=1, img_size=16)
    return MODELS.build(network | kwargs)


@pytest.mark.parametrize('loss', LOGIT_LOSSES, ids=str)
def test_losses_of_logits_read_log_odds(loss):
    torch.manual_seed(0)
    # In float64: the logit of an activation near 1 amplifies the rounding of float32.
    features = tuple(feature.double() for feature in FEATURES)
    module, expected = head(loss=loss).eval().double(), head().eval().double()
    expected.load_state_dict(module.state_dict())
    logits = module(features)
    torch.testing.assert_close(logits, torch.logit(expected(features)))
    torch.testing.assert_close(
        torch.stack([sample.pred_score for sample in module.predict(features)]), logits.softmax(1)
    )
    classifier = timm_classifier(loss=loss).eval().double()
    images = torch.randn(3, 1, 16, 16, dtype=torch.float64)
    plain = timm_classifier().eval().double()
    plain.load_state_dict(classifier.state_dict())
    torch.testing.assert_close(classifier(images), torch.logit(plain(images)))
    scores = torch.stack([sample.pred_score for sample in classifier(images, mode='predict')])
    torch.testing.assert_close(scores, classifier(images).softmax(1))


def test_losses_of_activations_read_activations():
    images = torch.randn(3, 1, 16, 16)
    for loss in (dict(type='SpreadLoss'), dict(type='MarginLoss')):
        classifier = timm_classifier(loss=loss).eval()
        scores = torch.stack([sample.pred_score for sample in classifier(images, mode='predict')])
        torch.testing.assert_close(scores, classifier(images))
        assert ((scores > 0) & (scores < 1)).all()
        assert classifier.output == head(loss=loss).output == 'activation'
        timm_classifier(loss=loss, output='activation')


@pytest.mark.parametrize('build', [head, timm_classifier])
@pytest.mark.parametrize(
    ('loss', 'output', 'message'),
    [
        ('SpreadLoss', 'logit', r"output must be 'activation' with SpreadLoss.*got 'logit'; SpreadLoss\(use_sigmoid=T"),
        ('MarginLoss', 'logit', "output must be 'activation' with MarginLoss"),
        (
            'CrossEntropyLoss',
            'activation',
            "output must be 'logit' with CrossEntropyLoss, or left out, got 'activation'",
        ),
    ],
)
def test_output_that_the_loss_does_not_read_is_refused(build, loss, output, message):
    with pytest.raises(ValueError, match=message):
        build(loss=dict(type=loss), output=output)


def test_other_losses_read_activations_unless_told():
    assert head(loss=torch.nn.MSELoss()).output == 'activation'
    assert head(loss=torch.nn.MSELoss(), output='logit').output == 'logit'
    with pytest.raises(ValueError, match="output must be one of .*'logits'"):
        timm_classifier(loss=torch.nn.MSELoss(), output='logits')
