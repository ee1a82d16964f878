# ECSSD with our own split for CPUs: images 0001 to 0500 for training and 0501 to 0600 for testing, of 1,000. State this
# with any result; papers train on DUTS-TR and test on all of ECSSD, see duts.py. The input size is set in the model's
# SaliencyDataPreProcessor.
dataset_type = 'ECSSDDataset'
data_root = 'data/ECSSD'
pack = dict(type='PackSegInputs', meta_keys=('dataset', 'img_path', 'ori_shape', 'img_shape', 'flip', 'flip_direction'))

train_pipeline = [
    dict(type='LoadCheckedImageFromFile'),
    dict(type='LoadSaliencyMask'),
    dict(type='RandomBorderCrop', max_ratio=1 / 8),
    dict(type='RandomFlip', prob=0.5),
    pack,
]

test_pipeline = [
    # By this name MMSegInferencer finds it; tools/ check the files all the same.
    dict(type='LoadImageFromFile'),
    dict(type='LoadSaliencyMask'),
    pack,
]

train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    # The last batch of an epoch may be too small for batch normalisation.
    drop_last=True,
    dataset=dict(type=dataset_type, data_root=data_root, stem_range=('0001', '0500'), pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
)

val_dataloader = dict(
    # MMSegmentation warns about every batch with images of different sizes.
    batch_size=1,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(type=dataset_type, data_root=data_root, stem_range=('0501', '0600'), pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='SODMetric')

test_dataloader = val_dataloader
test_evaluator = val_evaluator
