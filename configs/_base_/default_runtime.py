_base_ = './runtime.py'

default_scope = 'mmpretrain'
custom_imports = dict(imports=['rescaps_plugin.training', 'rescaps_plugin.classification'])

default_hooks = dict(visualization=dict(type='InputVisualizationHook', enable=False))
visualizer = dict(type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
