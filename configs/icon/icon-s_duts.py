# ICON-S: Swin-B and EM routing.
_base_ = [
    '../_base_/models/icon_swin-b.py',
    '../_base_/datasets/duts.py',
    '../_base_/schedules/sgd_triangular_60e.py',
    '../_base_/saliency_runtime.py',
]

optim_wrapper = dict(optimizer=dict(lr=2e-3))
train_dataloader = dict(batch_size=6)
auto_scale_lr = dict(base_batch_size=6)
