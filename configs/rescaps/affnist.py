# ResCaps trained on placed and rotated MNIST, tested on affNIST (Liu et al. 2024, Sec. V-A1). 40x40 images end as 3x3
# maps.
_base_ = [
    '../_base_/models/rescaps.py',
    '../_base_/datasets/affnist.py',
    '../_base_/schedules/adam_cycle_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(in_channels=1), head=dict(feature_size=3))
