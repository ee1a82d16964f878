# The same with dynamic routing, which residual pose routing is compared with.
_base_ = './pointcaps-rpr_modelnet40.py'

model = dict(routing='dynamic')
