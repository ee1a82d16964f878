# CapsNet with 8 types on scikit-learn's digits, with reconstruction: minutes of training on a CPU.
_base_ = [
    '../_base_/models/capsnet.py',
    '../_base_/datasets/digits.py',
    '../_base_/schedules/adam_cycle_40e.py',
    '../_base_/default_runtime.py',
]

# The paper's weight of 0.0005 is for pixels in (0, 1); here pixels are divided by their standard deviation.
model = dict(model_name='capsnet_tiny', reconstruction=True, reconstruction_weight=0.0005 * 0.3550**2)
optim_wrapper = dict(optimizer=dict(lr=0.001))
