# mmpretrain's VGG-16 with batch normalisation on ImageNet-1k, with pointwise residual pose routing.
_base_ = 'mmpretrain::vgg/vgg16bn_8xb32_in1k.py'

custom_imports = dict(imports=['rescaps_plugin.swap'])
model = dict(backbone=dict(conv_cfg=dict(type='RPRConv2d', routing='pointwise')))
