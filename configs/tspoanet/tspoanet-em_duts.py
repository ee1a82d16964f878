# TSPOANet-EM: the same with one stream of EM routing over all types.
_base_ = './tspoanet_duts.py'

model = dict(decode_head=dict(routing=dict(streams=1)))
