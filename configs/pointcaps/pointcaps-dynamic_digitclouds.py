# The same with dynamic routing, for comparison with residual pose routing.
_base_ = './pointcaps-rpr_digitclouds.py'

model = dict(routing='dynamic')
