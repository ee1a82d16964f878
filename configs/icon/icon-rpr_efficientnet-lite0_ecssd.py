# ICON with residual pose routing, on a CPU. As there are few images, it uses photometric distortion, and a moving
# average of the weights over about a hundred iterations for tests and checkpoints.
_base_ = [
    '../_base_/models/icon_efficientnet-lite0.py',
    '../_base_/datasets/ecssd.py',
    '../_base_/schedules/adamw_triangular_12e.py',
    '../_base_/saliency_runtime.py',
]

train_pipeline = [*_base_.train_pipeline[:-1], dict(type='PhotoMetricDistortion'), _base_.pack]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
custom_hooks = [dict(type='EMAHook', momentum=0.01)]
train_cfg = dict(max_epochs=16)
