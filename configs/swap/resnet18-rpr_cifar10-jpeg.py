# ResNet-18 with a CIFAR stem and residual pose routing in its 3x3 convolutions, on CIFAR-10 (JPEG).
_base_ = './resnet18_cifar10-jpeg.py'

custom_imports = dict(imports=['rescaps_plugin.training', 'rescaps_plugin.classification', 'rescaps_plugin.swap'])
model = dict(_delete_=True, type='RPRModel', model={{_base_.model}})
