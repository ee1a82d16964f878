# CapsNet with 8 types on affNIST on a CPU, with the data and the schedule of ResCaps.
_base_ = '../rescaps/affnist_small.py'

model = dict(
    _delete_=True,
    type='TimmCapsuleClassifier',
    model_name='capsnet_tiny',
    in_chans=1,
    img_size=40,
    num_classes=10,
    loss=dict(type='MarginLoss'),
)
optim_wrapper = dict(optimizer=dict(lr=0.001))
