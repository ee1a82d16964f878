# RCCaps with dynamic routing.
_base_ = './rccaps_em_digits.py'

model = dict(model_name='rccaps_dynamic_tiny', loss=dict(_delete_=True, type='MarginLoss'))
