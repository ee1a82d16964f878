# The same with one stream of EM routing, for comparison with residual pose routing. The map is computed from
# activations only, which initially differ by less than 0.01 with the usual inverse temperature, 0.01.
_base_ = './tspoanet-rpr_efficientnet-lite0_ecssd.py'

model = dict(
    decode_head=dict(
        routing=dict(_delete_=True, type='em', streams=1, iterations=2, inverse_temperature=0.1),
    ),
)
