# TSPOANet: VGG16, the last convolution of each of its five stages, strides 1 to 16, and two streams of EM routing. The
# map is computed from activations only, which initially differ by less than 0.01 with the usual inverse temperature,
# 0.01.
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SaliencyDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        train_sizes=[352],
        test_size=352,
    ),
    backbone=dict(
        type='mmpretrain.TIMMBackbone',
        model_name='vgg16',
        features_only=True,
        out_indices=(0, 1, 2, 3, 4),
        init_cfg=dict(type='TIMMWeights', model_name='vgg16'),
    ),
    decode_head=dict(
        type='TSPOAHead',
        in_channels=[64, 128, 256, 512, 512],
        channels=128,
        capsule_types=16,
        routing=dict(type='em', streams=2, iterations=2, inverse_temperature=0.1),
        loss_decode=[dict(type='BCELoss'), dict(type='ContourIoULoss')],
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)
