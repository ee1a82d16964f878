# ResCaps with 1.3 M parameters, half an hour of CPU training on MNIST.
_base_ = './rescaps.py'

model = dict(backbone=dict(capsule_types=(8, 8, 4, 4)), head=dict(in_channels=68))
