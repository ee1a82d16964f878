_base_ = './runtime.py'

default_scope = 'mmseg'
custom_imports = dict(imports=['rescaps_plugin.training', 'rescaps_plugin.saliency'])

default_hooks = dict(
    logger=dict(interval=50),
    # the first metric of the first set: max F-measure
    checkpoint=dict(save_best='auto', rule='greater'),
    visualization=dict(type='SaliencyVisualizationHook'),
)
visualizer = dict(type='SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer')
