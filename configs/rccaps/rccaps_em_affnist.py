# RCCaps with EM routing on affNIST.
_base_ = [
    '../_base_/models/rccaps.py',
    '../_base_/datasets/affnist.py',
    '../_base_/schedules/adam_cycle_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(model_name='rccaps_em_mnist', img_size=40)
