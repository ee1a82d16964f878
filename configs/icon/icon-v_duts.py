# ICON-V: VGG16 and EM routing.
_base_ = [
    '../_base_/models/icon_vgg16-bn.py',
    '../_base_/datasets/duts.py',
    '../_base_/schedules/sgd_triangular_60e.py',
    '../_base_/saliency_runtime.py',
]
