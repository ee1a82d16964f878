# Self-routing behind a ResNet-20: 32 capsule types.
model = dict(
    type='TimmCapsuleClassifier', model_name='srcaps_resnet20_cifar', num_classes=10, loss=dict(type='SpreadLoss')
)
