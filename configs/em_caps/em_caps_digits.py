# EM-Caps with 4 types on scikit-learn's digits: minutes of training on a CPU.
_base_ = [
    '../_base_/models/em_caps.py',
    '../_base_/datasets/digits.py',
    '../_base_/schedules/adam_cycle_40e.py',
    '../_base_/default_runtime.py',
]

model = dict(model_name='em_caps_tiny', in_chans=1, img_size=16)
