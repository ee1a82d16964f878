# ShapeNet Core v2, 55 classes of 2048 points. Lists of files in data_root make another split than the official one.
dataset_type = 'ShapeNetCore'

# Insert augmentation between the steps: RandomRotatePoints, RandomScalePoints, RandomJitterPoints, RandomDropPoints.
# The result is both input and target.
pipeline = [dict(type='NormalizePoints'), dict(type='PackPoints')]

train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    # Residual pose routing normalises over the clouds of a batch; the last batch of an epoch may have too few.
    drop_last=True,
    dataset=dict(type=dataset_type, data_root='data/shapenetcorev2_hdf5_2048', split='train', pipeline=pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)

val_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    dataset=dict(type=dataset_type, data_root='data/shapenetcorev2_hdf5_2048', split='test', pipeline=pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
val_evaluator = dict(type='ChamferMetric')

test_dataloader = val_dataloader
test_evaluator = val_evaluator
