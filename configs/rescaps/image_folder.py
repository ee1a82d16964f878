# Pictures of one's own on a CPU, in folders: data/images/train/<class>/* and data/images/test/<class>/*. Say how many
# classes they are of: --cfg-options model.head.num_classes=N.
_base_ = [
    '../_base_/models/rescaps_small.py',
    '../_base_/datasets/image_folder.py',
    '../_base_/schedules/adam_cycle_20e.py',
    '../_base_/default_runtime.py',
]

# 64x64 ends as 4x4.
model = dict(head=dict(num_classes=2, feature_size=4))
