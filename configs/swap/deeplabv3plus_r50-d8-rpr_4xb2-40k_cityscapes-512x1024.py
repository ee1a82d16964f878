# mmsegmentation's DeepLabV3+ on Cityscapes, with pointwise residual pose routing in backbone and head.
_base_ = 'mmseg::deeplabv3plus/deeplabv3plus_r50-d8_4xb2-40k_cityscapes-512x1024.py'

custom_imports = dict(imports=['rescaps_plugin.swap'])
conv_cfg = dict(type='RPRConv2d', routing='pointwise')
model = dict(backbone=dict(conv_cfg=conv_cfg), decode_head=dict(conv_cfg=conv_cfg))
