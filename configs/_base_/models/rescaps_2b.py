# ResCaps-2B: one residual pose block before the classifier's.
model = dict(
    type='ImageClassifier',
    backbone=dict(type='ResCaps', in_channels=3, capsule_types=(32,)),
    # in_channels: capsule types of the block times (4 * 4 + 1); feature_size: image size / 2
    head=dict(type='CapsuleClsHead', num_classes=10, in_channels=544, feature_size=16, loss=dict(type='SpreadLoss')),
)
