# mmsegmentation's UPerNet on Cityscapes, with residual pose routing of the backbone's four levels.
_base_ = 'mmseg::upernet/upernet_r50_4xb2-40k_cityscapes-512x1024.py'

custom_imports = dict(imports=['rescaps_plugin.swap'])
model = dict(neck=dict(type='RPRNeck', in_channels=[256, 512, 1024, 2048]))
