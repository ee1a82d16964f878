"""Classify clouds by the latent capsules of a trained autoencoder, with a linear support vector machine.

    python tools/transfer_svm.py CONFIG CHECKPOINT
    python tools/transfer_svm.py CONFIG CHECKPOINT --data configs/pointcaps/pointcaps-rpr_modelnet40.py
    python tools/transfer_svm.py CONFIG CHECKPOINT --fractions 0.01 0.05 0.2 1
    python tools/transfer_svm.py --latents work_dirs/CONFIG/transfer/latents.h5 --fractions 0.1

The autoencoder is not trained any further. Training and test clouds are those of the config, or of another one
(--data), as its test pipeline prepares them. Features are scaled to zero mean and unit variance over the training
clouds; the C of the SVM is that of 0.001, 0.01, 0.1, 1, 10 which classifies best in 3-fold cross-validation among them.
Writes to work_dirs/<config>/transfer: latents.h5 (latent capsules and labels of both splits), transfer.json (accuracy
and C at every fraction of the labels), classes.csv and confusion.png (at the largest fraction).
"""

import csv
import json
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from pathlib import Path

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.reporting import user_errors

with user_errors():
    import numpy as np
    from matplotlib.figure import Figure
    from mmengine.device import get_device
    from rich.progress import track

    import rescaps_plugin  # noqa: F401  (makes mmcv-lite suffice for configs that need mmcv)
    from rescaps_plugin.cli.arguments import add_config_arguments, positive_int
    from rescaps_plugin.cli.config import load_config
    from rescaps_plugin.cli.extras import import_extra
    from rescaps_plugin.cli.plots import plain_text
    from rescaps_plugin.cli.tables import quote_formula, recover, show


def fraction(text):
    value = float(text)
    if not 0 < value <= 1:
        raise ArgumentTypeError(f'must be above 0 and at most 1, not {text}')
    return value


def parse_args(argv=None):
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('config', nargs='?', help='path of the config of the autoencoder')
    parser.add_argument('checkpoint', nargs='?', help='path or URL of the checkpoint')
    parser.add_argument(
        '--latents',
        type=Path,
        metavar='FILE',
        help='latents.h5 of an earlier run, to classify again without CONFIG, CHECKPOINT and encoding',
    )
    parser.add_argument('--data', metavar='CONFIG', help='config whose clouds are classified (default: the same)')
    parser.add_argument(
        '--fractions',
        type=fraction,
        nargs='+',
        default=[1.0],
        metavar='F',
        help='fractions of the training labels to use, of every class, one cloud at least (default: 1)',
    )
    parser.add_argument('--seed', type=int, default=0, help='of the draw of labels and of the folds (default: 0)')
    parser.add_argument('--batch-size', type=positive_int, default=32, help='clouds at a time (default: 32)')
    parser.add_argument('--device', default=get_device(), help='cpu, cuda, cuda:1, ... (default: %(default)s)')
    parser.add_argument('--out-dir', type=Path, help='folder for the results (default: work_dirs/<config>/transfer)')
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    if (args.checkpoint is None) == (args.latents is None) or (args.latents and args.config):
        parser.error('give CONFIG and CHECKPOINT, or --latents FILE')
    return args


def encode(args):
    """Encode both splits; gives them by name, the classes, and the folder for the results."""
    from rescaps_plugin.pointcloud.inference import build_dataset, open_model
    from rescaps_plugin.pointcloud.transfer import extract_latents

    cfg, model = open_model(args.config, args.checkpoint, args)
    data = load_config(args.data) if args.data else cfg
    datasets = {phase: build_dataset(data, phase) for phase in ('train', 'test')}
    classes = datasets['train'].metainfo.get('classes')
    if classes is None or classes != datasets['test'].metainfo.get('classes'):
        raise UserError(f'config {data.filename}: the data sets of training and test must have the same classes.')
    splits = {}
    for phase, dataset in datasets.items():
        print(f'encoding {len(dataset)} clouds of {phase}')
        splits[phase] = extract_latents(model, dataset, args.batch_size)
    return splits, classes, args.out_dir or Path(cfg.work_dir, 'transfer')


@plain_text
def draw_confusion(truth, predicted, classes, path):
    """Draw the confusion matrix, in fractions of the true class."""
    from sklearn.metrics import ConfusionMatrixDisplay

    side = 3 + 0.25 * len(classes)
    figure = Figure(figsize=(side + 1, side), layout='constrained')
    axis = figure.subplots()
    ConfusionMatrixDisplay.from_predictions(
        truth,
        predicted,
        labels=range(len(classes)),
        display_labels=[show(name) for name in classes],
        normalize='true',
        include_values=len(classes) <= 12,
        values_format='.2f',
        xticks_rotation='vertical',
        text_kw=dict(fontsize=7),
        cmap='Blues',
        ax=axis,
    )
    axis.set(xlabel='predicted class', ylabel='true class')
    figure.savefig(path, dpi=120)


def main(argv=None):
    args = parse_args(argv)
    with user_errors():
        # Here, so that --help and mistaken flags do without scikit-learn.
        from rescaps_plugin.pointcloud.transfer import draw_fraction, fit_svm, load_latents, save_latents

        for package in ('sklearn', 'h5py'):  # before the encoding has taken its time
            import_extra(package, 'pointcloud')
        if args.latents:
            splits, classes = load_latents(args.latents)
            out_dir = args.out_dir or args.latents.parent
            out_dir.mkdir(parents=True, exist_ok=True)
        else:
            splits, classes, out_dir = encode(args)
            out_dir.mkdir(parents=True, exist_ok=True)
            save_latents(out_dir / 'latents.h5', splits, classes)
        (train, train_labels), (test, test_labels) = splits['train'], splits['test']
        train, test = (latents.reshape(len(latents), -1) for latents in (train, test))
        results = []
        for share in track(sorted(args.fractions), 'Fitting', transient=True):
            chosen = draw_fraction(train_labels, share, args.seed)
            classifier, penalty = fit_svm(train[chosen], train_labels[chosen], args.seed)
            predicted = classifier.predict(test)
            accuracy = 100 * float(np.mean(predicted == test_labels))
            results.append(dict(fraction=share, clouds=len(chosen), C=penalty, accuracy=accuracy))
            print(f'{100 * share:g} % of the labels ({len(chosen)} clouds): accuracy {accuracy:.2f} %, C {penalty:g}')

        (out_dir / 'transfer.json').write_text(json.dumps(results, indent=2))
        with (out_dir / 'classes.csv').open('w', newline='', encoding='utf-8') as file:
            writer = csv.writer(file)
            writer.writerow(['class', 'clouds', 'accuracy'])
            for label, name in enumerate(classes):
                own = test_labels == label
                right = f'{100 * np.mean(predicted[own] == label):.2f}' if own.any() else ''
                writer.writerow([quote_formula(recover(name)), own.sum(), right])
                print(f'  {show(name)}: {f"{right} %" if right else "-"} of {own.sum()}')
        draw_confusion(test_labels, predicted, classes, out_dir / 'confusion.png')
        print(
            f'wrote {"" if args.latents else "latents.h5, "}transfer.json, classes.csv and confusion.png to {out_dir}'
        )


if __name__ == '__main__':
    main()
