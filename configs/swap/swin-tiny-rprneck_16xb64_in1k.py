# mmpretrain's Swin-T on ImageNet-1k, with residual pose routing between backbone and pooling.
_base_ = 'mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py'

custom_imports = dict(imports=['rescaps_plugin.swap'])
model = dict(neck=[dict(type='RPRNeck', in_channels=768), dict(type='GlobalAveragePooling')])
