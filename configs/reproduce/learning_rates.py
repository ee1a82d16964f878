# Learning rates for the CPU protocol: every method is trained on its images at each of four peak rates, with seed 0,
# and tested on 1,000 other training images. cpu.py uses the best one, where it is not that of the method's own config.
_base_ = './cpu.py'

protocol = (
    'The CPU protocol with peak learning rates of 0.001, 0.003, 0.01 and 0.03, tested on 1,000 training images that '
    'are not used for training.'
)

rates = (0.001, 0.003, 0.01, 0.03)
data = dict(mnist='MNIST', affnist='MNIST placed on 40x40 and rotated up to 30 degrees', cifar10='CIFAR-10 (JPEG)')
methods = _base_.tables.I.rows
data_names = {f'{name}-{rate}': f'{title}, training images' for name, title in data.items() for rate in rates}

tables = dict(
    _delete_=True,
    learning_rates=dict(
        title='Learning rates',
        rows=methods,
        columns=[
            dict(label=f'{title}, {rate}', data=f'{name}-{rate}', metric='error')
            for name, title in data.items()
            for rate in rates
        ],
        orderings=[],
    ),
)

held_out = dict(
    mnist=dict(split='train', indices=range(1, 60000, 60)),
    affnist=dict(
        _delete_=True,
        type='IDXMNIST',
        data_root='data/mnist',
        split='train',
        indices=range(1, 60000, 60),
        pipeline=[dict(type='RandomAffinePlacement', size=40, rotation=30.0), dict(type='PackInputs')],
    ),
    cifar10=dict(data_prefix='train', indices=range(1, 50000, 50)),
)

experiments = dict(
    _delete_=True,
    **{
        f'{name}-{rate}': {
            method: dict(
                config=_base_.experiments[name][method]['config'],
                options=[
                    *_base_.experiments[name][method]['options'],
                    dict(optim_wrapper=dict(optimizer=dict(lr=rate))),
                ],
                tests=dict(test=[dict(test_dataloader=dict(dataset=held_out[name]))]),
            )
            for method in methods
        }
        for name in data
        for rate in rates
    },
)

del data, held_out, methods, rates
