# KiCad-NORB: five categories of electronic parts in smallNORB's own format, with 2 lightings for smallNORB's 6. Say
# "KiCad-NORB" beside any number. Its files number the categories; the names are what the pictures show.
_base_ = './smallnorb.py'

data_root = 'data/kicad-norb'
metainfo = dict(classes=('capacitor', 'connector', 'transistor', 'switch', 'relay'))

# Loaded in the main process, for networks that train on a CPU.
loading = dict(num_workers=0, persistent_workers=False, dataset=dict(data_root=data_root, metainfo=metainfo))
train_dataloader = loading
val_dataloader = loading
test_dataloader = val_dataloader
