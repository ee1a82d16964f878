# Full protocol, for GPUs: networks, data sets and schedules of the configs.
_base_ = './tables.py'

protocol = "Unchanged configs: networks of the paper's size on the whole data, 100 epochs (point clouds: 200)."

data_names = dict(
    mnist='MNIST',
    affnist='affNIST, trained on MNIST digits placed on 40x40 and rotated up to 30 degrees',
    smallnorb='smallNORB',
    cifar10='CIFAR-10',
    cifar100='CIFAR-100',
    azimuth='smallNORB, trained on azimuths 300 to 40 degrees, tested on unseen instances, novel views: the rest',
    elevation='smallNORB, trained on the 3 lowest elevations, tested on unseen instances, novel views: the rest',
    saliency='trained on DUTS-TR',
    shapenetcore='ShapeNet Core v2',
    modelnet40='ModelNet40',
)

configs = dict(
    capsnet='configs/capsnet/capsnet_{data}.py',
    em_caps='configs/em_caps/em_caps_{data}.py',
    srcaps='configs/srcaps/srcaps_{data}.py',
    rccaps='configs/rccaps/rccaps_dynamic_{data}.py',
    rccaps_em='configs/rccaps/rccaps_em_{data}.py',
    rescaps_2b='configs/rescaps/{data}_2b.py',
    rescaps_2b_3l='configs/rescaps/{data}_2b_3l.py',
    rescaps='configs/rescaps/{data}.py',
    rescaps_3l='configs/rescaps/{data}_3l.py',
    resnet18='configs/resnet_cifar/resnet18_{data}.py',
)

experiments = {
    data: {method: dict(config=path.format(data=data)) for method, path in configs.items()}
    for data in ('mnist', 'affnist', 'smallnorb', 'cifar10')
}
experiments['cifar10']['resnet101'] = dict(config='configs/resnet_cifar/resnet101_cifar10.py')
experiments['cifar100'] = {
    method: dict(config=path.format(data='cifar100')) for method, path in configs.items() if method != 'capsnet'
}
for axis in ('azimuth', 'elevation'):
    experiments[axis] = {
        method: dict(
            config=path.format(data='smallnorb'),
            options=[dict(train_dataloader=dict(dataset={axis: 'familiar'}))],
            tests={views: [dict(test_dataloader=dict(dataset={axis: views}))] for views in ('familiar', 'novel')},
        )
        for method, path in configs.items()
    }
experiments['saliency'] = {
    name.replace('-', '_'): dict(config=f'configs/{family}/{name}_duts.py')
    for family, names in (
        ('icon', ('icon-s', 'icon-s-rpr', 'icon-v', 'icon-v-rpr')),
        ('tspoanet', ('tspoanet', 'tspoanet-em', 'tspoanet-rpr')),
    )
    for name in names
}
# Latent capsules trained on ShapeNet Core classify ModelNet40: both tables use one training, which needs both data
# sets.
svm = dict(
    command=[
        'tools/transfer_svm.py',
        '{config}',
        '{checkpoint}',
        '--out-dir',
        '{out}',
        '--data',
        'rescaps::pointcaps/pointcaps-rpr_modelnet40.py',
    ],
    result='{out}/transfer.json',
)
experiments['shapenetcore'] = experiments['modelnet40'] = {
    method: dict(
        config=f'configs/pointcaps/pointcaps-{routing}_shapenetcore.py',
        measures=dict(svm=svm),
        packages=dict(sklearn='pointcloud', h5py='pointcloud'),
    )
    for method, routing in (('pointcaps', 'dynamic'), ('pointcaps_rpr', 'rpr'))
}

del axis, configs, svm
