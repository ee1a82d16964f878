# Adam for 2 epochs, or train_cfg.max_epochs: linear warm-up of the learning rate for 3 tenths of the training, then
# cosine decay, by iteration.
optim_wrapper = dict(optimizer=dict(type='Adam', lr=0.005))
param_scheduler = dict(type='CycleLR', start_factor=0.04, rise=0.3, by_epoch=True, convert_to_iter_based=True)
train_cfg = dict(by_epoch=True, max_epochs=2, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=128)
