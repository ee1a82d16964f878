# KiCad-NORB on a CPU: CAD shapes in smallNORB's format, single views.
_base_ = [
    '../_base_/models/rescaps_small.py',
    '../_base_/datasets/kicad_norb.py',
    '../_base_/schedules/adam_cycle_5e.py',
    '../_base_/default_runtime.py',
]

model = dict(backbone=dict(in_channels=1), head=dict(num_classes=5))
