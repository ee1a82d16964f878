# Digits with the release's residual: 1 is added to every entry of w.
_base_ = './digits.py'

model = dict(backbone=dict(residual='ones'), head=dict(residual='ones'))
