# ResCaps on ImageNet-1k at 224x224, the network of timm's rescaps_imagenet. It differs from the paper's
# networks, whose classifier alone would have 210 M weights: 7x7 stem with max-pooling, mean over positions before the
# class capsules, and each class computed from its own pose. Not trained by us.
_base_ = [
    '../_base_/datasets/imagenet.py',
    '../_base_/schedules/adam_cycle_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResCaps', capsule_types=(16, 32, 32, 32), stem='conv7_pool', stem_channels=64),
    head=dict(
        type='CapsuleClsHead',
        num_classes=1000,
        in_channels=544,
        global_pool='avg',
        routing='pointwise',
        loss=dict(type='SpreadLoss'),
    ),
)
optim_wrapper = dict(optimizer=dict(lr=0.002))
