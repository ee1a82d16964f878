# ResNet-18 with a CIFAR stem on scikit-learn's digits.
_base_ = [
    '../_base_/models/resnet18_cifar.py',
    '../_base_/datasets/digits.py',
    '../_base_/schedules/adam_cycle_40e.py',
    '../_base_/default_runtime.py',
]

model = dict(in_chans=1)
optim_wrapper = dict(optimizer=dict(lr=0.001))
