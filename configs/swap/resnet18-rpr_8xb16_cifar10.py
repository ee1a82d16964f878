# mmpretrain's ResNet-18 on CIFAR-10, with residual pose routing in every convolution whose channels are capsules.
_base_ = 'mmpretrain::resnet/resnet18_8xb16_cifar10.py'

custom_imports = dict(imports=['rescaps_plugin.swap'])
model = dict(backbone=dict(conv_cfg=dict(type='RPRConv2d')))
