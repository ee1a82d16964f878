# CapsNet on affNIST, without reconstruction.
_base_ = [
    '../_base_/models/capsnet.py',
    '../_base_/datasets/affnist.py',
    '../_base_/schedules/adam_cycle_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(img_size=40)
optim_wrapper = dict(optimizer=dict(lr=0.001))
