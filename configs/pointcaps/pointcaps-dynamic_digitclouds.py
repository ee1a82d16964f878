# The same with dynamic routing, which residual pose routing is compared with.
_base_ = './pointcaps-rpr_digitclouds.py'

model = dict(routing='dynamic')
