_base_ = './runtime.py'

default_scope = 'mmengine'
custom_imports = dict(imports=['rescaps_plugin.training', 'rescaps_plugin.pointcloud'])

default_hooks = dict(logger=dict(interval=50), checkpoint=dict(save_best='chamfer/mean', rule='less'))
