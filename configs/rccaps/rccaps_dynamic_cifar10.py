# RCCaps with dynamic routing.
_base_ = './rccaps_em_cifar10.py'

model = dict(model_name='rccaps_dynamic_cifar', loss=dict(_delete_=True, type='MarginLoss'))
