# ResCaps on CIFAR-100 (Liu et al. 2024, Sec. V-A3).
_base_ = [
    '../_base_/models/rescaps.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/adam_cycle_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=100))
