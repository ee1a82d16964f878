# Adam for 30 epochs: the learning rate rises linearly for 3 tenths of the training and falls by a cosine, by iteration.
optim_wrapper = dict(optimizer=dict(type='Adam', lr=0.005))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.04, begin=0, end=9, by_epoch=True, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=0, begin=9, end=30, by_epoch=True, convert_to_iter_based=True),
]
train_cfg = dict(by_epoch=True, max_epochs=30, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=128)
