# EM-Caps on affNIST.
_base_ = [
    '../_base_/models/em_caps.py',
    '../_base_/datasets/affnist.py',
    '../_base_/schedules/adam_cycle_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(model_name='em_caps_mnist', img_size=40)
