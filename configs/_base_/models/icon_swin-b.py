# ICON-S: Swin-B of ImageNet-22k with windows of 12 at 384 pixels, strides 4 to 32. For Swin-T: embed_dims=96,
# depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], window_size=7 and the head's in_channels=[96, 192, 384, 768].
_base_ = './icon_vgg16-bn.py'

swin = 'https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/swin/'
model = dict(
    data_preprocessor=dict(train_sizes=[384], test_size=384),
    backbone=dict(
        _delete_=True,
        type='SwinTransformer',
        pretrain_img_size=384,
        embed_dims=128,
        depths=[2, 2, 18, 2],
        num_heads=[4, 8, 16, 32],
        window_size=12,
        init_cfg=dict(type='Pretrained', checkpoint=swin + 'swin_base_patch4_window12_384_22k_20220317-e5c09f74.pth'),
    ),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
)
