# CapsNet on smallNORB, single views, without reconstruction.
_base_ = [
    '../_base_/models/capsnet.py',
    '../_base_/datasets/smallnorb.py',
    '../_base_/schedules/adam_cycle_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(img_size=32, num_classes=5)
optim_wrapper = dict(optimizer=dict(lr=0.001))
