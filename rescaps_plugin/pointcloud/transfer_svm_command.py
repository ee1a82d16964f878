"""Implementation of ``tools/transfer_svm.py``."""

import csv
import json
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich.progress import track

from rescaps_plugin.cli.config import load_config
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.extras import import_extra
from rescaps_plugin.cli.outputs import check_folder_writable, choose_out_dir
from rescaps_plugin.cli.plots import plain_text
from rescaps_plugin.cli.tables import quote_formula, recover, show
from rescaps_plugin.pointcloud.inference import open_model
from rescaps_plugin.pointcloud.transfer import draw_fraction, extract_latents, fit_svm, load_latents, save_latents
from rescaps_plugin.training.splits import build_dataset


def run(args: Namespace) -> None:
    """Classify clouds from their latent capsules at every fraction of the training labels.

    Args:
        args: Arguments of ``tools/transfer_svm.py``.

    Raises:
        UserError: A package is missing, the model, its data or saved latent capsules cannot be used, or the folder
            cannot be written.
    """
    for package in ('sklearn', 'h5py'):  # before the encoding, which takes long
        import_extra(package, 'pointcloud')
    if args.latents:
        splits, classes = load_latents(args.latents)
        out_dir = args.out_dir or args.latents.parent
        check_folder_writable(out_dir, '--out-dir')
        out_dir.mkdir(parents=True, exist_ok=True)
    else:
        splits, classes, out_dir = _encode(args)
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
    _write_classes(test_labels, predicted, classes, out_dir / 'classes.csv')
    draw_confusion(test_labels, predicted, classes, out_dir / 'confusion.png')
    print(f'wrote {"" if args.latents else "latents.h5, "}transfer.json, classes.csv and confusion.png to {out_dir}')


def _encode(args: Namespace) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], Sequence[str], Path]:
    """Encode the training and test clouds, and save their latent capsules.

    Returns:
        Latent capsules and labels by the name of the split, names of the classes, and the folder for the results.
    """
    cfg, model = open_model(args.config, args.checkpoint, args)
    out_dir = choose_out_dir(args.out_dir, cfg.work_dir, 'transfer')
    data = load_config(args.data) if args.data else cfg
    datasets = {phase: build_dataset(data, phase) for phase in ('train', 'test')}
    classes = datasets['train'].metainfo.get('classes')
    if classes is None or classes != datasets['test'].metainfo.get('classes'):
        raise UserError(f'config {data.filename}: the data sets of training and test must have the same classes.')
    splits = {}
    for phase, dataset in datasets.items():
        print(f'encoding {len(dataset)} clouds of {phase}')
        splits[phase] = extract_latents(model, dataset, args.batch_size)
    out_dir.mkdir(parents=True, exist_ok=True)
    save_latents(out_dir / 'latents.h5', splits, classes)
    return splits, classes, out_dir


def _write_classes(truth: np.ndarray, predicted: np.ndarray, classes: Sequence[str], path: Path) -> None:
    """Write and print the number of clouds and the accuracy in per cent of every class."""
    with path.open('w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(['class', 'clouds', 'accuracy'])
        for label, name in enumerate(classes):
            own = truth == label
            right = f'{100 * np.mean(predicted[own] == label):.2f}' if own.any() else ''
            writer.writerow([quote_formula(recover(name)), own.sum(), right])
            print(f'  {show(name)}: {f"{right} %" if right else "-"} of {own.sum()}')


@plain_text
def draw_confusion(truth: np.ndarray, predicted: np.ndarray, classes: Sequence[str], path: Path) -> None:
    """Draw the confusion matrix, in fractions of the true class.

    Args:
        truth: True classes ``[n]``.
        predicted: Predicted classes ``[n]``.
        classes: Names of the classes.
        path: Output file, in any format that matplotlib supports.
    """
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
