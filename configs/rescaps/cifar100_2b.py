# ResCaps-2B: one residual pose block before the classifier's (Liu et al. 2024, Table IV).
_base_ = './cifar100.py'

model = dict(backbone=dict(capsule_types=(32,)), head=dict(in_channels=544, feature_size=16))
