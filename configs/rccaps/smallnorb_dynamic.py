# RCCaps over dynamic routing.
_base_ = './smallnorb.py'

model = dict(model_name='rccaps_dynamic_smallnorb', loss=dict(_delete_=True, type='MarginLoss'))
