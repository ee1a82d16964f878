# KiCad-NORB: five categories of electronic parts in smallNORB's format, with 2 lightings instead of smallNORB's 6.
# State "KiCad-NORB" with any result. The files have only numbers of the categories; the names describe the images.
_base_ = './smallnorb.py'

data_root = 'data/kicad-norb'
source = 'KiCad-NORB is rendered from the 3-D models of kicad-packages3d 6.0.10 and is not published.'
metainfo = dict(classes=('capacitor', 'connector', 'transistor', 'switch', 'relay'))

# Loads in the main process, for CPU training.
loading = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(data_root=data_root, source=source, metainfo=metainfo),
)
train_dataloader = loading
val_dataloader = loading
test_dataloader = val_dataloader
