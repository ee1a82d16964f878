# Digits with three ResP layers per block.
_base_ = './digits.py'

model = dict(backbone=dict(num_layers=3))
