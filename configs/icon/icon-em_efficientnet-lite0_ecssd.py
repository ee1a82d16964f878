# The same with EM routing, for comparison with residual pose routing.
_base_ = './icon-rpr_efficientnet-lite0_ecssd.py'

model = dict(decode_head=dict(routing=dict(_delete_=True, type='em', iterations=3)))
