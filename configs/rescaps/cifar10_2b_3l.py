# ResCaps-2B-3L: one residual pose block, of three ResP layers (Liu et al. 2024, Table VI).
_base_ = './cifar10_2b.py'

model = dict(backbone=dict(num_layers=3))
