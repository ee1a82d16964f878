# ICON-R-RPR: the same with residual pose routing.
_base_ = './icon-r_duts.py'

model = dict(decode_head=dict(routing=dict(_delete_=True, type='rpr')))
