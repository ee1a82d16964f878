# CIFAR-100 on a CPU, from folders of images, 30 epochs.
_base_ = [
    '../_base_/models/rescaps_small.py',
    '../_base_/datasets/cifar100_folder.py',
    '../_base_/schedules/adam_cycle_30e.py',
    '../_base_/default_runtime.py',
]

model = dict(head=dict(num_classes=100))

loading = dict(num_workers=0, persistent_workers=False)
train_dataloader = loading
val_dataloader = loading
test_dataloader = loading
