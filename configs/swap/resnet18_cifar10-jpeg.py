# ResNet-18 with a CIFAR stem on CIFAR-10 (JPEG): baseline of resnet18-rpr_cifar10-jpeg.
_base_ = [
    '../_base_/models/resnet18_cifar.py',
    '../_base_/datasets/cifar10_jpeg.py',
    '../_base_/schedules/adam_cycle_100e.py',
    '../_base_/default_runtime.py',
]

optim_wrapper = dict(optimizer=dict(lr=0.001))
