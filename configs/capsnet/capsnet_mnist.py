# CapsNet on MNIST, with the reconstruction of the digit (Sabour et al. 2017, Table 1).
_base_ = [
    '../_base_/models/capsnet.py',
    '../_base_/datasets/mnist.py',
    '../_base_/schedules/adam_cycle_100e.py',
    '../_base_/default_runtime.py',
]

# The paper's weight of 0.0005 is for pixels in (0, 1); here pixels are divided by their standard deviation.
model = dict(reconstruction=True, reconstruction_weight=0.0005 * 0.3081**2)
optim_wrapper = dict(optimizer=dict(lr=0.001))
