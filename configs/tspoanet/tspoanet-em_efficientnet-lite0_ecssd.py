# The same with EM routing in one stream, which residual pose routing is compared with. The map is made from activations
# alone, which with the usual inverse temperature, 0.01, begin within a hundredth of each other.
_base_ = './tspoanet-rpr_efficientnet-lite0_ecssd.py'

model = dict(
    decode_head=dict(
        routing=dict(_delete_=True, type='em', streams=1, iterations=2, inverse_temperature=0.1),
    ),
)
