# The same without capsules.
_base_ = './icon-rpr_efficientnet-lite0_ecssd.py'

model = dict(decode_head=dict(routing=None))
