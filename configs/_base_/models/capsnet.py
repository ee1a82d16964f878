# CapsNet of the paper: 32 types of 8-D primary capsules, 16-D class capsules, three iterations of dynamic routing.
model = dict(type='TimmCapsuleClassifier', model_name='capsnet_mnist', num_classes=10, loss=dict(type='MarginLoss'))
