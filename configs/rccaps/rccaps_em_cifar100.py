# RCCaps with EM routing on CIFAR-100.
_base_ = [
    '../_base_/models/rccaps.py',
    '../_base_/datasets/cifar100.py',
    '../_base_/schedules/adam_cycle_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(num_classes=100)
