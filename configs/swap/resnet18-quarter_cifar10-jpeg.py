# For CPUs, on CIFAR-10 (JPEG): ResNet-18 of a quarter of the width, with ImageNet's stem, for 2 epochs.
_base_ = [
    '../_base_/models/resnet18_cifar.py',
    '../_base_/datasets/cifar10_jpeg.py',
    '../_base_/schedules/adam_cycle_2e.py',
    '../_base_/default_runtime.py',
]

model = dict(model_name='resnet18', channels=(16, 32, 64, 128))
