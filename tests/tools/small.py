"""Configs that train in seconds on a CPU: images and clouds of digits, synthetic saliency images."""

DIGITS = """
_base_ = {configs!r} + '/rescaps/digits.py'
model = dict(backbone=dict(capsule_types=(2, 2, 2, 2)), head=dict(in_channels=34))
train_dataloader = dict(batch_size=16, dataset=dict(indices=40))
val_dataloader = test_dataloader = dict(batch_size=16, dataset=dict(indices=20))
train_cfg = dict(max_epochs=3)
"""

CLOUDS = """
_base_ = {configs!r} + '/pointcaps/pointcaps-rpr_digitclouds.py'
model = dict(
    num_points=32, channels=(8, 16), primary_capsules=8, latent_capsules=8, latent_dim=6,
    routing_cfg=dict(capsule_types=2))
train_dataloader = dict(batch_size=4, sampler=dict(type={sampler!r}), dataset=dict(num_points=32, indices=18))
val_dataloader = test_dataloader = dict(batch_size=8, dataset=dict(num_points=32, indices=10))
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=9, val_interval=4)
param_scheduler = dict(_delete_=True, type='LinearLR', start_factor=0.1, begin=0, end=9, by_epoch=False)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=3))
log_processor = dict(by_epoch=False)
"""

SALIENCY = """
_base_ = {configs!r} + '/icon/icon-rpr_efficientnet-lite0_synthetic.py'
model = dict(
    data_preprocessor=dict(train_sizes=[64], test_size=64), backbone=dict(init_cfg=None),
    decode_head=dict(channels=8))
train_dataloader = dict(batch_size=8, dataset=dict(num_images=24))
val_dataloader = test_dataloader = dict(dataset=dict(num_images=6))
train_cfg = dict(max_epochs=3)
"""


def write(folder, repository, text, **values):
    """Write a config as ``small.py``; all train for nine iterations."""
    text = text.replace('{configs!r}', repr(str(repository / 'configs')))
    for name, value in values.items():
        text = text.replace(f'{{{name}!r}}', repr(value))
    (folder / 'small.py').write_text(text)
