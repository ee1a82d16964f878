# RCCaps over dynamic routing.
_base_ = './mnist.py'

model = dict(model_name='rccaps_dynamic_mnist', loss=dict(_delete_=True, type='MarginLoss'))
