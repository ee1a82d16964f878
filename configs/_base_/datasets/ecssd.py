# ECSSD, of whose 1,000 images 0001 to 0500 are for training and 0501 to 0600 for testing: a split of ours, for CPUs.
# Say so beside any number; papers train on DUTS-TR and test on all of ECSSD, see duts.py. The size of the network's
# input is the model's, in SaliencyDataPreProcessor.
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
    # Batch normalisation may find too little in the last batch of an epoch.
    drop_last=True,
    dataset=dict(type=dataset_type, data_root=data_root, stem_range=('0001', '0500'), pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
)

val_dataloader = dict(
    # MMSegmentation warns of every batch whose images differ in size.
    batch_size=1,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(type=dataset_type, data_root=data_root, stem_range=('0501', '0600'), pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='SODMetric')

test_dataloader = val_dataloader
test_evaluator = val_evaluator
