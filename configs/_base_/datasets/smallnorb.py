# smallNORB: each view of a stereo pair is a sample; standardised, resized from 96x96 to 48x48, a random 32x32 crop in
# training and the central one in testing. For the viewpoint experiments set azimuth or elevation of the data sets to
# 'familiar' or 'novel'.
dataset_type = 'SmallNORB'
data_root = 'data/smallnorb'
stereo = 'views'
# Every image is standardised individually.
data_preprocessor = dict(num_classes=5, to_rgb=False)

train_pipeline = [
    dict(type='Standardize'),
    dict(type='Resize', scale=(48, 48), interpolation='area'),
    dict(type='RandomCrop', crop_size=32),
    dict(type='PackInputs'),
]

test_pipeline = [
    dict(type='Grayscale'),  # does not change the data set's images; adapts others
    dict(type='Standardize'),
    dict(type='Resize', scale=(48, 48), interpolation='area'),
    dict(type='CenterCrop', crop_size=32),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=128,
    num_workers=4,
    persistent_workers=True,
    dataset=dict(type=dataset_type, data_root=data_root, split='train', stereo=stereo, pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)

val_dataloader = dict(
    batch_size=128,
    num_workers=4,
    persistent_workers=True,
    dataset=dict(type=dataset_type, data_root=data_root, split='test', stereo=stereo, pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
val_evaluator = dict(type='Accuracy', topk=(1,))

test_dataloader = val_dataloader
test_evaluator = val_evaluator
