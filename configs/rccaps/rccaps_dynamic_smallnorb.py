# RCCaps with dynamic routing.
_base_ = './rccaps_em_smallnorb.py'

model = dict(model_name='rccaps_dynamic_smallnorb', loss=dict(_delete_=True, type='MarginLoss'))
