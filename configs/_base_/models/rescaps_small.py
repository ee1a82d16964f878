# ResCaps with 1.7 M parameters, minutes of CPU training on MNIST.
_base_ = './rescaps.py'

model = dict(backbone=dict(capsule_types=(4, 8, 8, 8)), head=dict(in_channels=136))
