# ResCaps-3L: three ResP layers per block (Liu et al. 2024, Table V).
_base_ = './cifar100.py'

model = dict(backbone=dict(num_layers=3))
