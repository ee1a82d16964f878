# ResNet-18 with 24, 48, 96, 192 channels on CIFAR-100 on a CPU, with the data and the schedule of ResCaps, in its time.
_base_ = '../rescaps/cifar100_small.py'

model = dict(
    _delete_=True,
    type='TimmClassifier',
    model_name='resnet18_cifar_small',
    num_classes=100,
    loss=dict(type='CrossEntropyLoss'),
)
optim_wrapper = dict(optimizer=dict(lr=0.001))
# Without bfloat16 in hardware, its training step takes 1.2x the time of ResCaps'.
train_cfg = dict(max_epochs=24)
