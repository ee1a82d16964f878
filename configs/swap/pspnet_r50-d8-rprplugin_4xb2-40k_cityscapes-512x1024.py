# mmsegmentation's PSPNet on Cityscapes, with residual pose routing added to the blocks of the last two stages.
_base_ = 'mmseg::pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024.py'

custom_imports = dict(imports=['rescaps_plugin.swap'])
plugin = dict(cfg=dict(type='RPRPlugin'), stages=(False, False, True, True), position='after_conv2')
model = dict(backbone=dict(plugins=[plugin]))
