# timm's ResNet-18 with a 3x3 stem at stride 1 and no max-pool.
model = dict(type='TimmClassifier', model_name='resnet18_cifar', num_classes=10, loss=dict(type='CrossEntropyLoss'))
