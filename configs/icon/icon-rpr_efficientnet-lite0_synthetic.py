# ICON with residual pose routing on synthetic images (no files needed): a minute on a CPU.
_base_ = [
    '../_base_/models/icon_efficientnet-lite0.py',
    '../_base_/datasets/synthetic_sod.py',
    '../_base_/schedules/adamw_triangular_12e.py',
    '../_base_/saliency_runtime.py',
]

model = dict(data_preprocessor=dict(train_sizes=[64, 96], test_size=96))
train_cfg = dict(max_epochs=2)
