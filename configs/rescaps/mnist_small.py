# MNIST on a CPU: ResCaps with 4, 8, 8, 8 types, 4 epochs, digits shifted by up to 2 pixels.
_base_ = [
    '../_base_/models/rescaps_small.py',
    '../_base_/datasets/mnist.py',
    '../_base_/schedules/adam_cycle_4e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(in_channels=1))

train_pipeline = [
    dict(type='RandomCrop', crop_size=28, padding=2),
    dict(type='PackInputs'),
]
loading = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline), **loading)
val_dataloader = loading
test_dataloader = loading
