# RCCaps: four capsule layers of 32 types over EM routing, whose input is added to the output where their sizes agree.
model = dict(type='TimmCapsuleClassifier', model_name='rccaps_em_cifar', num_classes=10, loss=dict(type='SpreadLoss'))
