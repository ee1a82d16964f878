_base_ = [
    '../_base_/models/pointcaps.py',
    '../_base_/datasets/modelnet40.py',
    '../_base_/schedules/adam_200e.py',
    '../_base_/pointcloud_runtime.py',
]
