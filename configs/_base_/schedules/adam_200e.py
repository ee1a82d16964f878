# The paper's Adam at 1e-4 for 200 epochs, with a batch size of 16 instead of 2: residual pose routing normalises over
# the batch, and normalising two values leaves only their signs.
optim_wrapper = dict(optimizer=dict(type='Adam', lr=1e-4))
param_scheduler = []
train_cfg = dict(by_epoch=True, max_epochs=200, val_interval=10)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=16)
