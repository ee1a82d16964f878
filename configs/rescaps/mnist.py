# ResCaps on MNIST (Liu et al. 2024, Table I).
_base_ = [
    '../_base_/models/rescaps.py',
    '../_base_/datasets/mnist.py',
    '../_base_/schedules/adam_cycle_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(in_channels=1))
