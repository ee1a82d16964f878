# Your own images, in one folder per class: data/images/train/<class>/* and data/images/test/<class>/*. Folders name the
# classes; set their number in the model: model.head.num_classes, or model.num_classes.
# For another folder set --cfg-options train_dataloader.dataset.data_root=FOLDER, and the same for val and test.
dataset_type = 'ImageFolder'
data_root = 'data/images'
source = 'Put pictures there, or set dataset.data_root of train_dataloader, val_dataloader and test_dataloader.'
# Mean and standard deviation of ImageNet, in units of 0 to 255.
data_preprocessor = dict(num_classes=2, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)

# The size that the network takes; with ResCaps model.head.feature_size is a sixteenth of it.
size = 64

train_pipeline = [
    dict(type='LoadCheckedImageFromFile'),
    dict(type='RandomResizedCrop', scale=size, crop_ratio_range=(0.5, 1.0)),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]

test_pipeline = [
    dict(type='LoadCheckedImageFromFile'),
    dict(type='ResizeEdge', scale=size, edge='short'),
    dict(type='CenterCrop', crop_size=size),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    # The last batch of an epoch may be too small for batch normalisation.
    drop_last=True,
    dataset=dict(type=dataset_type, data_root=data_root, data_prefix='train', source=source, pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)

val_dataloader = dict(
    batch_size=32,
    num_workers=2,
    persistent_workers=True,
    dataset=dict(type=dataset_type, data_root=data_root, data_prefix='test', source=source, pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
val_evaluator = dict(type='Accuracy', topk=(1,))

test_dataloader = val_dataloader
test_evaluator = val_evaluator
