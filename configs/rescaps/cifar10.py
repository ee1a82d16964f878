# ResCaps on CIFAR-10 (Liu et al. 2024, Table III).
_base_ = [
    '../_base_/models/rescaps.py',
    '../_base_/datasets/cifar10.py',
    '../_base_/schedules/adam_cycle_100e.py',
    '../_base_/default_runtime.py',
]
