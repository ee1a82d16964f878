# TSPOANet: VGG16 and two streams of EM routing.
_base_ = [
    '../_base_/models/tspoanet_vgg16.py',
    '../_base_/datasets/duts.py',
    '../_base_/schedules/sgd_triangular_60e.py',
    '../_base_/saliency_runtime.py',
]
