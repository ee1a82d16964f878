# Digits with the routing of the paper's formulas: one w per type, convolutions on transformed poses.
_base_ = './digits.py'

model = dict(backbone=dict(routing='pointwise'))
