# mmdetection's RetinaNet on COCO, with pointwise residual pose routing in the backbone's convolutions.
_base_ = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'

custom_imports = dict(imports=['rescaps_plugin.swap'])
model = dict(backbone=dict(conv_cfg=dict(type='RPRConv2d', routing='pointwise')))
