# Default example: ResCaps with 4 types on scikit-learn's digits. A minute of training on a CPU.
_base_ = [
    '../_base_/models/rescaps_tiny.py',
    '../_base_/datasets/digits.py',
    '../_base_/schedules/adam_cycle_40e.py',
    '../_base_/default_runtime.py',
]

# 16x16 images end as 1x1 maps.
model = dict(backbone=dict(in_channels=1), head=dict(feature_size=1))
