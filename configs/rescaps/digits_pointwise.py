# Digits with the formulas' routing: one w a type, convolutions on transformed poses.
_base_ = './digits.py'

model = dict(backbone=dict(routing='pointwise'))
