"""A training script that imports timm alone, with the calls that timm 1.0.31's train.py makes for

train.py DATA --model MODEL --in-chans 1 --img-size 16 --num-classes 10 --mean 0.5 --std 0.5 --no-aug --model-kwargs \
    img_size=16 output=logit
"""

import json
import sys
from argparse import Namespace

import torch
from timm.data import create_dataset, create_loader, resolve_data_config
from timm.models import create_model
from timm.optim import create_optimizer_v2, optimizer_kwargs
from timm.scheduler import create_scheduler_v2, scheduler_kwargs
from timm.utils import AverageMeter, accuracy


def main(root, name, epochs):
    args = Namespace(model=name, epochs=int(epochs), in_chans=1, num_classes=10, img_size=16, mean=[0.5], std=[0.5])
    args.model_kwargs = dict(img_size=args.img_size, output='logit')
    args.__dict__.update(
        opt='adamw', lr=3e-3, weight_decay=2e-5, momentum=0.9, sched='cosine', warmup_epochs=0, seed=42
    )
    torch.manual_seed(args.seed)
    model = create_model(
        args.model,
        pretrained=False,
        in_chans=args.in_chans,
        num_classes=args.num_classes,
        drop_rate=0.0,
        drop_path_rate=None,
        drop_block_rate=None,
        global_pool=None,
        bn_momentum=None,
        bn_eps=None,
        scriptable=False,
        checkpoint_path='',
        **args.model_kwargs,
    )
    data_config = resolve_data_config(vars(args), model=model, verbose=False)
    loaders = {}
    for split, training in (('train', True), ('validation', False)):
        dataset = create_dataset(
            '',
            root=root,
            split=split,
            is_training=training,
            class_map='',
            download=False,
            batch_size=32,
            input_img_mode='L',
            input_key=None,
            target_key=None,
            num_samples=None,
            trust_remote_code=False,
        )
        loaders[split] = create_loader(
            dataset,
            input_size=data_config['input_size'],
            batch_size=32,
            is_training=training,
            no_aug=True,
            interpolation=data_config['interpolation'],
            mean=data_config['mean'],
            std=data_config['std'],
            num_workers=0,
            distributed=False,
            crop_pct=1.0,
            pin_memory=False,
            img_dtype=torch.float32,
            device=torch.device('cpu'),
            use_prefetcher=False,
        )
    optimizer = create_optimizer_v2(model, **optimizer_kwargs(cfg=args))
    scheduler, num_epochs = create_scheduler_v2(
        optimizer,
        **scheduler_kwargs(args, decreasing_metric=False),
        updates_per_epoch=len(loaders['train']),
    )
    loss_fn = torch.nn.CrossEntropyLoss()
    results = []
    for epoch in range(num_epochs):
        model.train()
        losses, top1 = AverageMeter(), AverageMeter()
        for inputs, target in loaders['train']:
            optimizer.zero_grad()
            loss = loss_fn(model(inputs), target)
            loss.backward()
            optimizer.step()
            losses.update(loss.item(), len(inputs))
        model.eval()
        with torch.no_grad():
            for inputs, target in loaders['validation']:
                top1.update(accuracy(model(inputs), target)[0].item(), len(inputs))
        scheduler.step(epoch + 1, top1.avg)
        results.append(dict(loss=losses.avg, top1=top1.avg))
    print(json.dumps(results))


if __name__ == '__main__':
    main(*sys.argv[1:])
