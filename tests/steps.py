"""Small networks of every kind with a batch on the device, for training steps."""

from pathlib import Path

import timm
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample

import rescaps_plugin.classification
import rescaps_plugin.pointcloud
import rescaps_plugin.saliency  # noqa: F401
from rescaps_plugin.losses import margin_loss, spread_loss

CONFIGS = Path(__file__).parents[1] / 'configs'
# The smallest network of every family, each trainable in seconds on a CPU.
TINY = sorted(
    name for name in timm.list_models('*_tiny') if timm.model_entrypoint(name).__module__.startswith('rescaps_plugin.')
)
DOMAINS = {
    'classification': 'rescaps/digits.py',
    'saliency, ICON': 'icon/icon-rpr_efficientnet-lite0_synthetic.py',
    'saliency, TSPOANet': 'tspoanet/tspoanet-rpr_efficientnet-lite0_synthetic.py',
    'point clouds, rpr': 'pointcaps/pointcaps-rpr_digitclouds.py',
    'point clouds, dynamic': 'pointcaps/pointcaps-dynamic_digitclouds.py',
}


def domain_model(name, device):
    """Build the network of a domain's small config, with random weights, and a batch on the device."""
    cfg = Config.fromfile(CONFIGS / DOMAINS[name])
    model = cfg.model
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        if name.startswith('saliency'):
            model.backbone.init_cfg = None
            model.data_preprocessor.update(train_sizes=[64], test_size=64)
        if name.startswith('point'):
            model.update(num_points=32, channels=(8, 16), primary_capsules=8, latent_capsules=8, latent_dim=6)
        with torch.device(device):
            network = MODELS.build(model)
    # Device of batches; set directly, as ``to`` cannot move to a fake device.
    network._set_device(torch.device(device))
    return network.train(), BATCHES[name.partition(',')[0]](device)


def digits(device):
    samples = [DataSample().set_gt_label(torch.tensor([label], device=device)) for label in (1, 0, 7)]
    return dict(inputs=torch.randint(256, (3, 1, 16, 16), dtype=torch.uint8, device=device), data_samples=samples)


def images(device):
    samples = []
    for _ in range(2):
        sample = SegDataSample(metainfo=dict(ori_shape=(50, 70), img_shape=(50, 70)))
        mask = torch.randint(2, (1, 50, 70), device=device)
        samples.append(sample.set_data(dict(gt_sem_seg=PixelData(data=mask))) or sample)
    inputs = [torch.randint(256, (3, 50, 70), dtype=torch.uint8, device=device) for _ in samples]
    return dict(inputs=inputs, data_samples=samples)


def clouds(device):
    return dict(inputs=torch.rand(4, 32, 3, device=device) - 0.5)


BATCHES = {'classification': digits, 'saliency': images, 'point clouds': clouds}


def class_targets(batch, classes, device):
    """Targets of every kind: indices, and probabilities as from label smoothing."""
    label = torch.arange(batch, device=device) % classes
    smooth = torch.full((batch, classes), 0.1 / classes, device=device)
    return label, smooth.scatter(1, label[:, None], 0.9 + 0.1 / classes)


def capsule_losses(activation):
    """Sum of all losses of capsule activations, for every kind of target."""
    targets = class_targets(*activation.shape, activation.device)
    losses = [spread_loss(activation, target, 0.9) for target in targets]
    losses += [margin_loss(activation, target) for target in targets]
    return sum(loss.mean() for loss in losses)
