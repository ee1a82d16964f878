# ICON with residual pose routing, on a CPU.
_base_ = [
    '../_base_/models/icon_efficientnet-lite0.py',
    '../_base_/datasets/ecssd.py',
    '../_base_/schedules/adamw_triangular_12e.py',
    '../_base_/saliency_runtime.py',
]
