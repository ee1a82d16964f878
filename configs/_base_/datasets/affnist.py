# Trains on MNIST digits at random positions of 40x40 canvases, rotated by up to 30 degrees; tests on affNIST, created
# by
#     python tools/prepare_affnist.py data/mnist data/affnist
# from MNIST, or read from the original .mat files in data/affnist.
data_preprocessor = dict(num_classes=10, mean=[16.33], std=[54.23], to_rgb=False)

train_pipeline = [
    dict(type='RandomAffinePlacement', size=40, rotation=30.0),
    dict(type='PackInputs'),
]

test_pipeline = [
    # do not change the data set's images; adapt other images for prediction
    dict(type='Grayscale'),
    dict(type='Resize', scale=(40, 40)),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=128,
    num_workers=4,
    persistent_workers=True,
    dataset=dict(type='IDXMNIST', data_root='data/mnist', split='train', pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
)

# One transform of each digit: 10,000 of the 320,000 test images, which take long on a CPU.
val_dataloader = dict(
    batch_size=128,
    num_workers=4,
    persistent_workers=True,
    dataset=dict(type='AffNIST', data_root='data/affnist', per_digit=1, pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
val_evaluator = dict(type='Accuracy', topk=(1,))

test_dataloader = dict(
    batch_size=128,
    num_workers=4,
    persistent_workers=True,
    dataset=dict(type='AffNIST', data_root='data/affnist', pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
)
test_evaluator = val_evaluator
