# The paper's ResCaps for 32x32 colour images: blocks with 32, 32, 16, 16 capsule types of 4x4 poses.
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResCaps', in_channels=3, capsule_types=(32, 32, 16, 16)),
    # in_channels: capsule types of the last block times (4 * 4 + 1); feature_size: image size / 16
    head=dict(type='CapsuleClsHead', num_classes=10, in_channels=272, feature_size=2, loss=dict(type='SpreadLoss')),
)
