# The paper's tables: methods of the rows, metrics of the columns, published numbers, and orderings that the paper
# claims. A budget (paper.py, cpu.py, or your own) adds the experiments. Published numbers are only those in the paper's
# text, not those that appear only in its tables.

# Unit, decimals, direction of improvement; the value is offset + scale * field * times / per.
metrics = dict(
    error=dict(unit='%', digits=2, better='less', field=('tests', '{test}', 'accuracy/top1'), scale=-1, offset=100),
    accuracy=dict(unit='%', digits=2, better='more', field=('tests', '{test}', 'accuracy/top1')),
    parameters=dict(unit='M', digits=3, better='less', field=('cost', 'parameters'), scale=1e-6),
    epoch_time=dict(
        unit='s',
        digits=1,
        better='less',
        field=('cost', 'train', 'seconds'),
        per=('cost', 'train', 'iterations'),
        times=('cost', 'train', 'iterations_per_epoch'),
    ),
    image_time=dict(
        unit='ms',
        digits=2,
        better='less',
        field=('cost', 'test', 'seconds'),
        per=('cost', 'test', 'samples'),
        scale=1e3,
    ),
    memory=dict(unit='MB', digits=0, better='less', field=('cost', 'train', 'memory'), scale=1e-6),
    max_f=dict(unit='1', digits=3, better='more', field=('tests', '{test}', '{set}/maxF')),
    mae=dict(unit='1', digits=3, better='less', field=('tests', '{test}', '{set}/MAE')),
    mean_e=dict(unit='1', digits=3, better='more', field=('tests', '{test}', '{set}/meanE')),
    chamfer=dict(unit='1e-3', digits=2, better='less', field=('tests', '{test}', 'chamfer/mean')),
    svm_accuracy=dict(unit='%', digits=2, better='more', field=('measures', 'svm', -1, 'accuracy')),
)

methods = dict(
    capsnet='CapsNet (dynamic)',
    em_caps='EM-Caps',
    srcaps='Self-routing',
    rccaps='RCCaps (dynamic)',
    rccaps_em='RCCaps (EM)',
    rescaps_2b='ResCaps-2B',
    rescaps_2b_3l='ResCaps-2B-3L',
    rescaps='ResCaps',
    rescaps_3l='ResCaps-3L',
    resnet18='ResNet-18',
    resnet101='ResNet-101',
    icon_s='ICON-S',
    icon_s_rpr='ICON-S-RPR',
    icon_v='ICON-V',
    icon_v_rpr='ICON-V-RPR',
    icon_none='ICON without capsules',
    icon_em='ICON-EM',
    icon_rpr='ICON-RPR',
    tspoanet='TSPOANet',
    tspoanet_em='TSPOANet-EM',
    tspoanet_rpr='TSPOANet-RPR',
    pointcaps='Point-Caps (dynamic)',
    pointcaps_rpr='Point-Caps with RPR',
)

capsules = ('capsnet', 'em_caps', 'srcaps', 'rccaps')
others = (*capsules, 'resnet18')
everyone = (*capsules, 'rescaps_2b', 'rescaps', 'resnet18')
saliency = [
    dict(label=f'{name} {label}', data='saliency', metric=metric, set=name)
    for name in ('ECSSD', 'HKU-IS', 'PASCAL-S', 'DUT-OMRON')
    for label, metric in (('max F', 'max_f'), ('MAE', 'mae'), ('mean E', 'mean_e'))
]

tables = dict(
    I=dict(
        title='MNIST and affNIST',
        rows=everyone,
        columns=[
            dict(label='MNIST error', data='mnist', metric='error', published=dict(rescaps=0.72)),
            dict(
                label='MNIST accuracy, best seed',
                data='mnist',
                metric='accuracy',
                statistic='best',
                published=dict(rescaps=99.45),
            ),
            dict(label='affNIST accuracy', data='affnist', metric='accuracy'),
            dict(
                label='time per MNIST image',
                data='mnist',
                metric='image_time',
                published=dict(rescaps_2b=1.2, em_caps=1.9),
            ),
        ],
        orderings=[
            dict(column='MNIST error', better='rescaps', than=others),
            dict(column='MNIST error', better='rescaps_2b', than=('em_caps',)),
            dict(column='affNIST accuracy', better='rescaps', than=others),
            dict(column='affNIST accuracy', better='rescaps_2b', than=others),
            dict(column='time per MNIST image', better='rescaps_2b', than=('em_caps',)),
        ],
    ),
    II=dict(
        title='smallNORB',
        rows=everyone,
        columns=[
            dict(label='error', data='smallnorb', metric='error', published=dict(rescaps=0.91)),
            dict(
                label='accuracy, best seed',
                data='smallnorb',
                metric='accuracy',
                statistic='best',
                published=dict(rescaps=99.45),
            ),
        ],
        orderings=[
            dict(column='error', better='rescaps', than=capsules),
            dict(column='error', better='rescaps_2b', than=('em_caps',)),
        ],
    ),
    III=dict(
        title='CIFAR-10',
        rows=everyone,
        columns=[
            dict(label='error', data='cifar10', metric='error'),
            dict(label='accuracy, best seed', data='cifar10', metric='accuracy', statistic='best'),
        ],
        orderings=[
            dict(column='error', better='rescaps', than=others),
            dict(column='error', better='rescaps_2b', than=('em_caps',)),
        ],
    ),
    IV=dict(
        title='ResCaps and ResCaps-2B',
        rows=('rescaps_2b', 'rescaps'),
        columns=[
            dict(label='MNIST error', data='mnist', metric='error', published=dict(rescaps=0.72)),
            dict(label='smallNORB error', data='smallnorb', metric='error', published=dict(rescaps=0.91)),
            dict(label='affNIST error', data='affnist', metric='error'),
            dict(label='CIFAR-10 error', data='cifar10', metric='error'),
            dict(label='CIFAR-100 error', data='cifar100', metric='error', published=dict(rescaps=15.26)),
        ],
        orderings=[
            dict(column='MNIST error', better='rescaps_2b', than=('rescaps',)),
            dict(column='smallNORB error', better='rescaps_2b', than=('rescaps',)),
            dict(column='affNIST error', better='rescaps', than=('rescaps_2b',)),
            dict(column='CIFAR-10 error', better='rescaps', than=('rescaps_2b',)),
            dict(column='CIFAR-100 error', better='rescaps', than=('rescaps_2b',)),
        ],
    ),
    V=dict(
        title='ResP layers per block, ResCaps',
        rows=('rescaps', 'rescaps_3l'),
        columns=[dict(label='smallNORB error', data='smallnorb', metric='error', published=dict(rescaps=0.91))],
        orderings=[dict(column='smallNORB error', better='rescaps', than=('rescaps_3l',))],
    ),
    VI=dict(
        title='ResP layers per block, ResCaps-2B',
        rows=('rescaps_2b', 'rescaps_2b_3l'),
        columns=[
            dict(label='MNIST accuracy', data='mnist', metric='accuracy'),
            dict(label='smallNORB accuracy', data='smallnorb', metric='accuracy'),
        ],
        orderings=[
            dict(column='MNIST accuracy', better='rescaps_2b', than=('rescaps_2b_3l',)),
            dict(column='smallNORB accuracy', better='rescaps_2b', than=('rescaps_2b_3l',)),
        ],
    ),
    VII=dict(
        title='Memory, time and parameters on CIFAR-10',
        rows=(*everyone, 'resnet101'),
        columns=[
            dict(
                label='training memory',
                data='cifar10',
                metric='memory',
                published=dict(em_caps=23700, rescaps_2b=4800),
            ),
            dict(label='training time per epoch', data='cifar10', metric='epoch_time'),
            dict(label='test time per image', data='cifar10', metric='image_time'),
            dict(label='parameters', data='cifar10', metric='parameters'),
            dict(label='error', data='cifar10', metric='error'),
            dict(label='accuracy', data='cifar10', metric='accuracy'),
        ],
        orderings=[
            dict(column='training memory', better='rescaps_2b', than=('em_caps',)),
            dict(column='test time per image', better='rescaps_2b', than=('em_caps',)),
            dict(column='test time per image', better='rescaps', than=('resnet101',)),
            dict(column='parameters', better='em_caps', than=('rescaps_2b',)),
            dict(column='parameters', better='rescaps', than=('resnet101',)),
            dict(column='error', better='rescaps', than=('resnet101',)),
        ],
    ),
    VIII=dict(
        title='ResCaps and RCCaps',
        rows=('rccaps', 'rccaps_em', 'rescaps'),
        columns=[
            dict(label='MNIST error', data='mnist', metric='error', published=dict(rescaps=0.72)),
            dict(label='affNIST error', data='affnist', metric='error'),
            dict(label='smallNORB error', data='smallnorb', metric='error', published=dict(rescaps=0.91)),
            dict(label='CIFAR-10 error', data='cifar10', metric='error'),
            dict(label='CIFAR-100 error', data='cifar100', metric='error', published=dict(rescaps=15.26)),
        ],
        orderings=[
            dict(column=f'{data} error', better='rescaps', than=('rccaps', 'rccaps_em'))
            for data in ('MNIST', 'affNIST', 'smallNORB', 'CIFAR-10', 'CIFAR-100')
        ],
    ),
    IX=dict(
        title='Salient object detection: residual pose routing instead of the original routing',
        rows=('tspoanet', 'tspoanet_rpr', 'icon_s', 'icon_s_rpr'),
        columns=saliency,
        orderings=[
            dict(column=f'{name} max F', better=better, than=(worse,))
            for better, worse in (('icon_s_rpr', 'icon_s'), ('tspoanet_rpr', 'tspoanet'))
            for name in ('ECSSD', 'HKU-IS', 'PASCAL-S', 'DUT-OMRON')
        ],
    ),
    X=dict(
        title='Salient object detection: comparison of routings',
        rows=(
            'tspoanet_em',
            'tspoanet',
            'tspoanet_rpr',
            'icon_s',
            'icon_s_rpr',
            'icon_v',
            'icon_v_rpr',
            'icon_none',
            'icon_em',
            'icon_rpr',
        ),
        columns=[*saliency, dict(label='training time per epoch', data='saliency', metric='epoch_time')],
        orderings=[
            dict(column='ECSSD max F', better='tspoanet_rpr', than=('tspoanet_em', 'tspoanet')),
            dict(column='DUT-OMRON max F', better='tspoanet_rpr', than=('tspoanet_em',)),
            dict(column='ECSSD mean E', better='tspoanet_rpr', than=('tspoanet',)),
            dict(column='HKU-IS mean E', better='icon_v_rpr', than=('icon_v',)),
            dict(column='ECSSD max F', better='icon_s_rpr', than=('icon_s',)),
        ],
    ),
    XI=dict(
        title='Reconstruction of point clouds',
        rows=('pointcaps', 'pointcaps_rpr'),
        columns=[
            dict(
                label='Chamfer distance',
                data='shapenetcore',
                metric='chamfer',
                published=dict(pointcaps=1.46, pointcaps_rpr=1.38),
            ),
            dict(label='parameters', data='shapenetcore', metric='parameters'),
            dict(label='training time per epoch', data='shapenetcore', metric='epoch_time'),
            dict(label='training memory', data='shapenetcore', metric='memory'),
        ],
        orderings=[dict(column='Chamfer distance', better='pointcaps_rpr', than=('pointcaps',))],
    ),
    XII=dict(
        title='Classification of point clouds by transfer',
        rows=('pointcaps', 'pointcaps_rpr'),
        columns=[
            dict(
                label='accuracy of a linear SVM',
                data='modelnet40',
                metric='svm_accuracy',
                published=dict(pointcaps_rpr=89.9),
            )
        ],
        orderings=[dict(column='accuracy of a linear SVM', better='pointcaps_rpr', than=('pointcaps',))],
    ),
    # The comparison of Hinton et al. 2018 and Hahn et al. 2019; not a table of the paper.
    viewpoints=dict(
        title='Novel viewpoints',
        rows=everyone,
        columns=[
            dict(label=f'{axis}, {test} views', data=axis, metric='accuracy', test=test)
            for axis in ('azimuth', 'elevation')
            for test in ('familiar', 'novel')
        ],
        orderings=[],
    ),
)
