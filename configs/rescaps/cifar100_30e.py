# ResCaps on CIFAR-100 from folders of images, 30 epochs.
_base_ = [
    '../_base_/models/rescaps.py',
    '../_base_/datasets/cifar100_folder.py',
    '../_base_/schedules/adam_cycle_30e.py',
    '../_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=100))
