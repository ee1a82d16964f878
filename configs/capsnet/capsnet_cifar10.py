# CapsNet on CIFAR-10: 64 types of primary capsules, without reconstruction.
_base_ = [
    '../_base_/models/capsnet.py',
    '../_base_/datasets/cifar10.py',
    '../_base_/schedules/adam_cycle_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(model_name='capsnet_cifar')
optim_wrapper = dict(optimizer=dict(lr=0.001))
