# mmdetection's Faster R-CNN on COCO, with pointwise residual pose routing in the backbone's convolutions.
_base_ = 'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'

custom_imports = dict(imports=['rescaps_plugin.swap'])
model = dict(
    backbone=dict(conv_cfg=dict(type='RPRConv2d', routing='pointwise')),
    # torchvision's operator, as mmcv-lite has none
    roi_head=dict(bbox_roi_extractor=dict(roi_layer=dict(use_torchvision=True))),
)
