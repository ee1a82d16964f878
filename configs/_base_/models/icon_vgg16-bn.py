# ICON-V: VGG16 with batch normalisation, whose stages 2 to 5 are taken before the next max-pool, strides 2 to 16.
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SaliencyDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        train_sizes=[224, 256, 288, 320, 352],
        test_size=352,
    ),
    backbone=dict(
        type='mmpretrain.TIMMBackbone',
        model_name='vgg16_bn',
        features_only=True,
        out_indices=(1, 2, 3, 4),
        init_cfg=dict(type='TIMMWeights', model_name='vgg16_bn'),
    ),
    decode_head=dict(
        type='ICONHead',
        in_channels=[128, 256, 512, 512],
        channels=64,
        routing=dict(type='em', iterations=3),
        loss_decode=dict(type='BCEIoULoss'),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
