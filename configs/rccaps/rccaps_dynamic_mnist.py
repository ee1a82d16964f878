# RCCaps with dynamic routing.
_base_ = './rccaps_em_mnist.py'

model = dict(model_name='rccaps_dynamic_mnist', loss=dict(_delete_=True, type='MarginLoss'))
