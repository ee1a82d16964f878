# ICON-R: ResNet-50 and EM routing.
_base_ = [
    '../_base_/models/icon_resnet50.py',
    '../_base_/datasets/duts.py',
    '../_base_/schedules/sgd_triangular_60e.py',
    '../_base_/saliency_runtime.py',
]
