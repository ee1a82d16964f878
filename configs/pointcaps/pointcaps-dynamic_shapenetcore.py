# The same with dynamic routing, for comparison with residual pose routing.
_base_ = './pointcaps-rpr_shapenetcore.py'

model = dict(routing='dynamic')
