# RCCaps: four capsule layers of 32 types with EM routing; the input is added to the output if their sizes agree.
model = dict(type='TimmCapsuleClassifier', model_name='rccaps_em_cifar', num_classes=10, loss=dict(type='SpreadLoss'))
