# mmsegmentation's FCN on Cityscapes, with pointwise residual pose routing in the backbone's convolutions.
_base_ = 'mmseg::fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py'

custom_imports = dict(imports=['rescaps_plugin.swap'])
model = dict(backbone=dict(conv_cfg=dict(type='RPRConv2d', routing='pointwise')))
