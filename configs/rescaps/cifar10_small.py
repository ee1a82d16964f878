# CIFAR-10 on a CPU, from folders of images, 30 epochs.
_base_ = [
    '../_base_/models/rescaps_small.py',
    '../_base_/datasets/cifar10_folder.py',
    '../_base_/schedules/adam_cycle_30e.py',
    '../_base_/default_runtime.py',
]
