# CIFAR-10 on a CPU, from folders of images: more types on smaller maps, 20 epochs.
_base_ = [
    '../_base_/models/rescaps_small.py',
    '../_base_/datasets/cifar10_folder.py',
    '../_base_/schedules/adam_cycle_20e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(capsule_types=(4, 8, 16, 16)), head=dict(in_channels=272))
