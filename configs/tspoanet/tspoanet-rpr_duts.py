# TSPOANet-RPR: the same with residual pose routing.
_base_ = './tspoanet_duts.py'

model = dict(decode_head=dict(routing=dict(_delete_=True, type='rpr')))
