# ResCaps on smallNORB, single views (Liu et al. 2024, Table II).
_base_ = [
    '../_base_/models/rescaps.py',
    '../_base_/datasets/smallnorb.py',
    '../_base_/schedules/adam_cycle_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(in_channels=1), head=dict(num_classes=5))
