# ResNet-18 with 24, 48, 96, 192 channels on affNIST on a CPU, with the data and the schedule of ResCaps.
_base_ = '../rescaps/affnist_small.py'

model = dict(
    _delete_=True,
    type='TimmClassifier',
    model_name='resnet18_cifar_small',
    in_chans=1,
    num_classes=10,
    loss=dict(type='CrossEntropyLoss'),
)
optim_wrapper = dict(optimizer=dict(lr=0.001))
