# A ResCaps that a CPU trains in a minute on small images: 0.6 M parameters.
_base_ = './rescaps.py'

model = dict(backbone=dict(capsule_types=(4, 4, 4, 4)), head=dict(in_channels=68))
