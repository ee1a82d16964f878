# The same with EM routing in one stream, which residual pose routing is compared with.
_base_ = './tspoanet-rpr_efficientnet-lite0_ecssd.py'

model = dict(decode_head=dict(routing=dict(_delete_=True, type='em', streams=1, iterations=2)))
