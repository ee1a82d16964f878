# Synthetic objects on textures, 200 images for training and 50 for testing, sides of 80 to 128 pixels. No files needed.
dataset_type = 'SyntheticSOD'
pack = dict(type='PackSegInputs', meta_keys=('dataset', 'img_path', 'ori_shape', 'img_shape', 'flip', 'flip_direction'))

train_pipeline = [
    dict(type='RandomBorderCrop', max_ratio=1 / 8),
    dict(type='RandomFlip', prob=0.5),
    pack,
]

test_pipeline = [pack]

train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    drop_last=True,
    dataset=dict(type=dataset_type, split='train', num_images=200, pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
)

val_dataloader = dict(
    # MMSegmentation warns about every batch with images of different sizes.
    batch_size=1,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(type=dataset_type, split='test', num_images=50, pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='SODMetric')

test_dataloader = val_dataloader
test_evaluator = val_evaluator
