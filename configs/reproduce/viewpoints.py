# Novel viewpoints with trainings that converge: CPU-sized networks on all 5,400 training views at familiar azimuths or
# elevations of KiCad-NORB, the same for every method. It was fixed before any result was known. The checkpoints of all
# epochs are kept, to compare methods at equal accuracy on familiar viewpoints, as Hinton et al. 2018 do.
_base_ = './tables.py'

protocol = (
    'Twelve epochs of all 5,400 training views at familiar azimuths or elevations of KiCad-NORB (516 steps of 128) in '
    "the same order, random 32x32 crops of 48x48, Adam at the learning rate of the method's own config in one cycle, "
    'the last checkpoint, tested on all 16,200 views of unseen instances. CPU-sized networks.'
)

tables = dict(_delete_=True, viewpoints={{_base_.tables.viewpoints}})

data_names = dict(
    azimuth='KiCad-NORB, trained on azimuths 300 to 40 degrees, tested on unseen instances, novel views: the rest',
    elevation='KiCad-NORB, trained on the 3 lowest elevations, tested on unseen instances, novel views: the rest',
)


def capsules(name, loss, **optim_wrapper):
    """Replace the network by a capsule network of timm."""
    return dict(
        model=dict(
            _delete_=True,
            type='TimmCapsuleClassifier',
            model_name=name,
            in_chans=1,
            img_size=32,
            num_classes=5,
            loss=dict(type=loss),
        ),
        optim_wrapper=optim_wrapper,
    )


slow = dict(optimizer=dict(lr=0.001))
networks = dict(
    rescaps={},
    resnet18=dict(
        model=dict(
            _delete_=True,
            type='TimmClassifier',
            model_name='resnet18_cifar_small',
            in_chans=1,
            num_classes=5,
            loss=dict(type='CrossEntropyLoss'),
        ),
        optim_wrapper=slow,
    ),
    capsnet=capsules('capsnet_tiny', 'MarginLoss', **slow),
    srcaps=capsules('srcaps_tiny', 'SpreadLoss'),
    rccaps=capsules('rccaps_dynamic_tiny', 'MarginLoss'),
    em_caps=capsules('em_caps_tiny', 'SpreadLoss'),
)

experiments = {
    axis: {
        method: dict(
            config='configs/rescaps/kicad_norb_small.py',
            options=[
                dict(
                    train_dataloader=dict(dataset={axis: 'familiar'}),
                    train_cfg=dict(max_epochs=12),
                    default_hooks=dict(checkpoint=dict(save_best=None, max_keep_ckpts=-1)),
                ),
                network,
            ],
            tests={views: [dict(test_dataloader=dict(dataset={axis: views}))] for views in ('familiar', 'novel')},
        )
        for method, network in networks.items()
    }
    for axis in ('azimuth', 'elevation')
}

del networks, slow
