# PointNet autoencoder on CAD shapes, with the data and schedule of the point capsules.
_base_ = [
    '../_base_/models/pointnet_small.py',
    '../_base_/datasets/kicad40.py',
    '../_base_/schedules/adam_cycle_10e.py',
    '../_base_/pointcloud_runtime.py',
]

optim_wrapper = dict(optimizer=dict(lr=0.002))
auto_scale_lr = dict(base_batch_size=16)
