# scikit-learn's 8x8 digits, 1,437 for training and 360 for testing, enlarged to 16x16. No files needed.
# Loads in the main process, for CPU training; for a GPU set
# --cfg-options train_dataloader.num_workers=4 train_dataloader.persistent_workers=True.
dataset_type = 'Digits'
data_preprocessor = dict(num_classes=10, mean=[79.78], std=[90.52], to_rgb=False)

train_pipeline = [
    dict(type='Resize', scale=(16, 16), interpolation='bicubic'),
    dict(type='NumpyToPIL'),
    dict(type='torchvision/RandomAffine', degrees=10, translate=(0.1, 0.1), scale=(0.9, 1.1), interpolation='bilinear'),
    dict(type='PILToNumpy'),
    dict(type='PackInputs'),
]

test_pipeline = [
    dict(type='Grayscale'),  # does not change the data set's images; adapts others
    dict(type='Resize', scale=(16, 16), interpolation='bicubic'),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=128,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(type=dataset_type, split='train', pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)

val_dataloader = dict(
    batch_size=128,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(type=dataset_type, split='test', pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
val_evaluator = dict(type='Accuracy', topk=(1,))

test_dataloader = val_dataloader
test_evaluator = val_evaluator
