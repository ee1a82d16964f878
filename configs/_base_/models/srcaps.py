# Self-routing on a ResNet-20 trunk: 32 capsule types.
model = dict(
    type='TimmCapsuleClassifier', model_name='srcaps_resnet20_cifar', num_classes=10, loss=dict(type='SpreadLoss')
)
