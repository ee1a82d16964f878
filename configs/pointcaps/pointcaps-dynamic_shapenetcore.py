# The same with dynamic routing, which residual pose routing is compared with.
_base_ = './pointcaps-rpr_shapenetcore.py'

model = dict(routing='dynamic')
