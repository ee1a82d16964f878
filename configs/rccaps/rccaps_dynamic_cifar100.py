# RCCaps with dynamic routing.
_base_ = './rccaps_em_cifar100.py'

model = dict(model_name='rccaps_dynamic_cifar', loss=dict(_delete_=True, type='MarginLoss'))
