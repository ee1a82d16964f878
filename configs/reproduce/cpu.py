# CPU protocol: about an hour per run on one core (saliency half an hour), the same for every method of a table. It was
# fixed before any result was known. Losses are those of each method's own config, and so are learning rates, unless
# learning_rates.py found a better one on training images that are not trained on.
_base_ = './tables.py'

protocol = (
    'Reduced, the same for every method: two epochs of the same fixed 3,000 training images (CIFAR-10 3,125, '
    "KiCad-NORB 2,700) in the same order, batches of 32, Adam at the learning rate of the method's own config in "
    'one cycle, the last checkpoint, tested on the same fixed 1,000 test images (KiCad-NORB 953). All '
    'networks are those of the paper with an eighth of the capsule types (4 instead of 32). CapsNet also has an eighth '
    "of the stem's channels, the ResNet a quarter of the stages' channels (as many parameters as ResCaps); EM routing "
    'has eight times the inverse temperature, for an eighth of the votes. Saliency and point clouds: the CPU-sized '
    'configs as they are, the last checkpoint.'
)

data_names = dict(
    mnist='MNIST, 3,000 of the training images',
    affnist='affNIST made by tools/prepare_affnist.py, one transform each of 1,000 digits; trained on 3,000 MNIST '
    'digits placed on 40x40 and rotated up to 30 degrees',
    smallnorb='KiCad-NORB instead of smallNORB, unseen instances',
    cifar10='CIFAR-10 (JPEG), 3,125 of the training images',
    cifar100='CIFAR-100: not in this budget',
    azimuth='KiCad-NORB: not in this budget, see viewpoints.py',
    elevation='KiCad-NORB: not in this budget, see viewpoints.py',
    saliency='ECSSD, 0001 to 0500 for training and 0501 to 0600 for testing, EfficientNet-Lite0 backbone',
    shapenetcore='DigitClouds instead of ShapeNet Core',
    modelnet40='DigitClouds instead of ModelNet40',
)

epochs = 2
every = dict(
    train_dataloader=dict(batch_size=32, num_workers=0),
    test_dataloader=dict(batch_size=64, num_workers=0),
    train_cfg=dict(max_epochs=epochs),
    param_scheduler=dict(type='CycleLR', start_factor=0.04, rise=0.3, by_epoch=True, convert_to_iter_based=True),
    default_hooks=dict(checkpoint=dict(save_best=None)),
)


def subset(train, test):
    """Fix which samples are trained and tested on: ranges of the data sets."""
    return dict(
        train_dataloader=dict(dataset=dict(indices=range(*train))),
        test_dataloader=dict(dataset=dict(indices=range(*test))),
    )


small = dict(
    capsnet=dict(model=dict(capsule_types=4, stem_channels=32)),
    em_caps=dict(model=dict(capsule_types=(4, 4, 4), inverse_temperature=0.08)),
    srcaps=dict(model=dict(capsule_types=(4, 4))),
    rccaps=dict(model=dict(capsule_types=(4, 4, 4, 4, 4))),
    rescaps_2b=dict(model=dict(backbone=dict(capsule_types=(4,)), head=dict(in_channels=68))),
    rescaps=dict(model=dict(backbone=dict(capsule_types=(4, 4, 4, 4)), head=dict(in_channels=68))),
    resnet18=dict(model=dict(channels=(16, 32, 64, 128))),
)
small['rescaps_2b_3l'], small['rescaps_3l'] = small['rescaps_2b'], small['rescaps']

configs = dict(
    capsnet='configs/capsnet/capsnet_{data}.py',
    em_caps='configs/em_caps/em_caps_{data}.py',
    srcaps='configs/srcaps/srcaps_{data}.py',
    rccaps='configs/rccaps/rccaps_dynamic_{data}.py',
    rescaps_2b='configs/rescaps/{data}_2b.py',
    rescaps_2b_3l='configs/rescaps/{data}_2b_3l.py',
    rescaps='configs/rescaps/{data}.py',
    rescaps_3l='configs/rescaps/{data}_3l.py',
    resnet18='configs/resnet_cifar/resnet18_{data}.py',
)

# Better peak learning rates than those of the configs.
learning_rates = dict(
    mnist=dict(capsnet=0.01, rescaps=0.003, resnet18=0.03),
    affnist=dict(capsnet=0.003, rescaps=0.003, resnet18=0.03),
)

# Ranges with a stride cover all classes if files are sorted by class.
changes = dict(
    mnist=[subset((0, 60000, 20), (0, 10000, 10))],
    affnist=[subset((0, 60000, 20), (0, 10000, 10)), dict(test_dataloader=dict(dataset=dict(per_digit=1)))],
    cifar10=['configs/_base_/datasets/cifar10_jpeg.py', subset((0, 50000, 16), (0, 10000, 10))],
    smallnorb=['configs/_base_/datasets/kicad_norb.py', subset((0, 2700), (0, 16200, 17))],
)
experiments = {
    data: {
        method: dict(config=configs[method].format(data=data), options=[*changes[data], every, small[method]])
        for method in configs
    }
    for data in changes
}
for data, rates in learning_rates.items():
    for method, rate in rates.items():
        experiments[data][method]['options'].append(dict(optim_wrapper=dict(optimizer=dict(lr=rate))))
# The paper uses twice as many types for CIFAR.
experiments['cifar10']['capsnet']['options'].append(dict(model=dict(capsule_types=8)))

experiments['saliency'] = {
    method: dict(config=f'configs/{name}_efficientnet-lite0_ecssd.py', options=[dict(train_cfg=dict(val_interval=4))])
    for method, name in (
        ('icon_none', 'icon/icon'),
        ('icon_em', 'icon/icon-em'),
        ('icon_rpr', 'icon/icon-rpr'),
        ('tspoanet_em', 'tspoanet/tspoanet-em'),
        ('tspoanet_rpr', 'tspoanet/tspoanet-rpr'),
    )
}

clouds = {
    method: dict(
        config=f'configs/pointcaps/pointcaps-{routing}_digitclouds.py',
        options=[dict(train_cfg=dict(val_interval=5))],
        measures=dict(
            svm=dict(
                command=['tools/transfer_svm.py', '{config}', '{checkpoint}', '--out-dir', '{out}'],
                result='{out}/transfer.json',
            )
        ),
        packages=dict(sklearn='pointcloud', h5py='pointcloud'),
    )
    for method, routing in (('pointcaps', 'dynamic'), ('pointcaps_rpr', 'rpr'))
}
experiments['shapenetcore'] = experiments['modelnet40'] = clouds

del changes, clouds, configs, data, epochs, every, learning_rates, method, rate, rates, small
