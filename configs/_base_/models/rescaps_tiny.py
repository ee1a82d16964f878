# ResCaps with 0.6 M parameters, a minute of CPU training on small images.
_base_ = './rescaps.py'

model = dict(backbone=dict(capsule_types=(4, 4, 4, 4)), head=dict(in_channels=68))
