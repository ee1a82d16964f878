# affNIST on a CPU: ResCaps with 4, 8, 8, 8 types, 4 epochs; tested on one transform of each of the 10,000 digits.
_base_ = [
    '../_base_/models/rescaps_small.py',
    '../_base_/datasets/affnist.py',
    '../_base_/schedules/adam_cycle_4e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(in_channels=1), head=dict(feature_size=3))

loading = dict(num_workers=0, persistent_workers=False)
train_dataloader = loading
val_dataloader = loading
test_dataloader = dict(dataset=dict(per_digit=1), **loading)
