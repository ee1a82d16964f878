# mmpretrain's ResNet-50 on ImageNet-1k, with pointwise residual pose routing in its convolutions.
_base_ = 'mmpretrain::resnet/resnet50_8xb32_in1k.py'

custom_imports = dict(imports=['rescaps_plugin.swap'])
model = dict(backbone=dict(conv_cfg=dict(type='RPRConv2d', routing='pointwise')))
