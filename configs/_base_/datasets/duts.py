# DUTS-TR for training, DUTS-TE for validation, and the five data sets of the papers' tables for testing, in the layout
# of their archives, in data/DUTS, data/ECSSD, data/HKU-IS, data/PASCAL-S and data/DUT-OMRON. To test on some of them:
# --cfg-options test_dataloader.dataset.use=ECSSD,HKU-IS. The input size is set in the model's SaliencyDataPreProcessor.
data_root = 'data/'
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
    num_workers=4,
    persistent_workers=True,
    # The last batch of an epoch may be too small for batch normalisation.
    drop_last=True,
    dataset=dict(type='DUTSDataset', data_root=data_root + 'DUTS', split='train', pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
)

val_dataloader = dict(
    # MMSegmentation warns about every batch with images of different sizes.
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    dataset=dict(type='DUTSDataset', data_root=data_root + 'DUTS', split='test', pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='SODMetric')

test_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    dataset=dict(
        type='SODBenchmark',
        sets={
            'DUTS-TE': dict(type='DUTSDataset', data_root=data_root + 'DUTS', split='test'),
            'ECSSD': dict(type='ECSSDDataset', data_root=data_root + 'ECSSD'),
            'HKU-IS': dict(type='HKUISDataset', data_root=data_root + 'HKU-IS'),
            'PASCAL-S': dict(type='PASCALSDataset', data_root=data_root + 'PASCAL-S'),
            'DUT-OMRON': dict(type='DUTOMRONDataset', data_root=data_root + 'DUT-OMRON'),
        },
        pipeline=test_pipeline,
    ),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_evaluator = dict(type='SODMetric')
