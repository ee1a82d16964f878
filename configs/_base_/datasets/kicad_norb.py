# KiCad-NORB: five categories of electronic parts in smallNORB's own format, with 2 lightings for smallNORB's 6. Say
# "KiCad-NORB" beside any number. Its files number the categories; the names are what the pictures show.
_base_ = './smallnorb.py'

data_root = 'data/kicad-norb'
metainfo = dict(classes=('capacitor', 'connector', 'transistor', 'switch', 'relay'))

train_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))
val_dataloader = dict(dataset=dict(data_root=data_root, metainfo=metainfo))
test_dataloader = val_dataloader
