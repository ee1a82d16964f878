# EM-Caps of the paper: B = C = D = 32 capsule types, three iterations of EM routing.
model = dict(type='TimmCapsuleClassifier', model_name='em_caps_cifar', num_classes=10, loss=dict(type='SpreadLoss'))
