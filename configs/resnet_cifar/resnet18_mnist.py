# ResNet-18 with a CIFAR stem on MNIST.
_base_ = [
    '../_base_/models/resnet18_cifar.py',
    '../_base_/datasets/mnist.py',
    '../_base_/schedules/adam_cycle_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(in_chans=1)
optim_wrapper = dict(optimizer=dict(lr=0.001))
