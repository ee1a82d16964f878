# KiCad40, 2,208 and 471 electronic parts of 40 classes in ModelNet40's format, at 512 of their 2048 points.
dataset_type = 'ModelNet40'
source = 'KiCad40 is sampled from the 3-D models of kicad-packages3d 6.0.10 and is not published.'

# Insert augmentation between the steps: RandomRotatePoints, RandomScalePoints, RandomJitterPoints, RandomDropPoints.
# The result is both input and target.
pipeline = [dict(type='NormalizePoints'), dict(type='PackPoints')]

train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    persistent_workers=False,
    # Residual pose routing normalises over the clouds of a batch; the last batch of an epoch may have too few.
    drop_last=True,
    dataset=dict(
        type=dataset_type,
        data_root='data/kicad40',
        num_points=512,
        split='train',
        source=source,
        pipeline=pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)

val_dataloader = dict(
    batch_size=16,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type=dataset_type,
        data_root='data/kicad40',
        num_points=512,
        split='test',
        source=source,
        pipeline=pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
val_evaluator = dict(type='ChamferMetric')

test_dataloader = val_dataloader
test_evaluator = val_evaluator
