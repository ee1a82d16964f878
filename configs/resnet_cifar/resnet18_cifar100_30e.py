# ResNet-18 with a CIFAR stem on CIFAR-100 from folders of images, 30 epochs: the recipe of rescaps/cifar100_30e.py.
_base_ = [
    '../_base_/models/resnet18_cifar.py',
    '../_base_/datasets/cifar100_folder.py',
    '../_base_/schedules/adam_cycle_30e.py',
    '../_base_/default_runtime.py',
]

model = dict(num_classes=100)
optim_wrapper = dict(optimizer=dict(lr=0.001))
