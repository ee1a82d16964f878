# ResNet-101 with a CIFAR stem on CIFAR-10.
_base_ = './resnet18_cifar10.py'

model = dict(model_name='resnet101_cifar')
