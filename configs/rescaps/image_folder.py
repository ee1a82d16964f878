# Your own images on a CPU, in folders: data/images/train/<class>/* and data/images/test/<class>/*. Set the number of
# classes: --cfg-options model.head.num_classes=N.
_base_ = [
    '../_base_/models/rescaps_small.py',
    '../_base_/datasets/image_folder.py',
    '../_base_/schedules/adam_cycle_20e.py',
    '../_base_/default_runtime.py',
]

# 64x64 images end as 4x4 maps.
model = dict(head=dict(num_classes=2, feature_size=4))
auto_scale_lr = dict(base_batch_size=32)
