# For CPUs, on CIFAR-10 (JPEG): resnet18-quarter with residual pose routing in its 3x3 convolutions.
_base_ = './resnet18-quarter_cifar10-jpeg.py'

custom_imports = dict(imports=['rescaps_plugin.training', 'rescaps_plugin.classification', 'rescaps_plugin.swap'])
model = dict(_delete_=True, type='RPRModel', model={{_base_.model}})
