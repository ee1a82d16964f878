# CIFAR-10 from folders of image files, train/<class>/* and test/<class>/*. If the files are not lossless, state it with
# any result. Loads in the main process, for CPU training; for a GPU set
# --cfg-options train_dataloader.num_workers=4 train_dataloader.persistent_workers=True.
dataset_type = 'ImageFolder'
data_root = 'data/cifar10'
metainfo = dict(
    classes=('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck'),
)
data_preprocessor = dict(num_classes=10, mean=[125.27, 122.93, 113.86], std=[62.53, 61.91, 66.46], to_rgb=True)

train_pipeline = [
    dict(type='LoadCheckedImageFromFile'),
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]

test_pipeline = [
    dict(type='LoadCheckedImageFromFile'),
    # does not change the data set's images; adapts other images for prediction
    dict(type='Resize', scale=(32, 32)),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=128,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix='train',
        metainfo=metainfo,
        pipeline=train_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)

val_dataloader = dict(
    batch_size=128,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix='test',
        metainfo=metainfo,
        pipeline=test_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
val_evaluator = dict(type='Accuracy', topk=(1,))

test_dataloader = val_dataloader
test_evaluator = val_evaluator
