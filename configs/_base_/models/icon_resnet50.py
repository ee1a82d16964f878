# ICON-R: ResNet-50, strides 4 to 32.
_base_ = './icon_vgg16-bn.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='ResNet',
        depth=50,
        style='pytorch',
        init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50'),
    ),
    decode_head=dict(in_channels=[256, 512, 1024, 2048]),
)
