"""Implementation of ``tools/visualise_capsules.py``."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.fileio import dump
from mmengine.structures import BaseDataElement
from mmpretrain.models import BaseClassifier
from torch import Tensor

from rescaps_plugin.analysis.capsule_views import (
    Recording,
    activation_maps,
    input_layout,
    measure_equivariance,
    part_whole_by_input,
    part_whole_by_weight,
    record_capsules,
    shares,
    warp_images,
    whole_poses,
)
from rescaps_plugin.analysis.drawing import draw_equivariance, draw_maps, draw_matrices
from rescaps_plugin.classification.image_inputs import ImageFiles, ImageReader, reads_bgr
from rescaps_plugin.classification.inference import build_test_set, load_images, open_classifier
from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.outputs import choose_out_dir
from rescaps_plugin.data.folders import find_files
from rescaps_plugin.data.images import IMAGE_SUFFIXES, STANDARD_INPUT
from rescaps_plugin.data.pictures import to_picture
from rescaps_plugin.data.subset import evenly_spaced
from rescaps_plugin.layers import ResidualPoseClassifier, ResidualPoseRouting
from rescaps_plugin.training.checkpoint_writer import whole_files

# Rotations in degrees, shifts in fractions of the width.
ANGLES = tuple(range(-60, 61, 10))
SHIFTS = tuple(step / 20 for step in range(-5, 6))


def run(args: Namespace) -> None:
    """Draw activation maps, equivariance and part-whole relations of the capsules of a classifier.

    Args:
        args: Arguments of ``tools/visualise_capsules.py``.

    Raises:
        UserError: The model cannot be opened or has no capsules, an image cannot be used, or the folder cannot be
            written.
    """
    paths = find_files(args.inputs, 'images', IMAGE_SUFFIXES, standard_input=STANDARD_INPUT)
    cfg, classifier = open_classifier(args.config, args.checkpoint, args)
    out_dir = choose_out_dir(args.out_dir, cfg.work_dir, 'capsules')
    if paths:
        samples = ImageFiles(paths, ImageReader(cfg, classifier))
    else:
        samples = build_test_set(cfg, classifier._dataset_meta.get('classes'))
    batch = load_images(samples, evenly_spaced(len(samples), args.images))
    maps = activation_maps(record_capsules(classifier, batch['inputs']))
    if not maps:
        raise UserError(f'config {args.config}: the model has no capsule layers of rescaps_plugin.layers.')

    out_dir.mkdir(parents=True, exist_ok=True)
    titles = [_name_image(sample, getattr(samples, 'metainfo', {}).get('classes')) for sample in batch['data_samples']]
    spatial = {name: layer.cpu().numpy() for name, layer in maps.items() if layer.shape[2] * layer.shape[3] > 1}
    bgr = reads_bgr(cfg)
    draw_maps(
        [to_picture(image, bgr) for image in batch['inputs']], titles, spatial or maps, out_dir / 'activations.png'
    )

    many = load_images(samples, evenly_spaced(len(samples), args.curve_images))['inputs']
    width = many.shape[3]
    curves = {
        'rotation, degrees': (ANGLES, [dict(rotation=angle) for angle in ANGLES]),
        'shift, parts of the width': (SHIFTS, [dict(translation=(0, shift * width)) for shift in SHIFTS]),
    }
    followed = {
        title: {'transforms': values, **_measure_transforms(classifier, many, warps, args.fill)}
        for title, (values, warps) in curves.items()
    }
    draw_equivariance(followed, out_dir / 'equivariance.png')

    parts = _find_parts(record_capsules(classifier, many))
    draw_matrices(parts, out_dir / 'part_whole.png')
    numbers = {
        'config': args.config,
        'checkpoint': args.checkpoint,
        'images': len(many),
        'equivariance': followed,
        'part_whole': {how: {name: m.tolist() for name, m in found.items()} for how, found in parts.items()},
    }
    with whole_files():
        dump(numbers, str(out_dir / 'capsules.json'), indent=2)
    print(f'wrote activations.png, equivariance.png, part_whole.png and capsules.json to {out_dir}')


def _measure_transforms(
    classifier: BaseClassifier, images: Tensor, warps: Sequence[dict], fill: float
) -> dict[str, Any]:
    """Measure every layer under transforms of the images.

    Args:
        classifier: The classifier.
        images: Images ``[b, c, h, w]`` as the test pipeline packs them.
        warps: The transforms, as arguments of :func:`~rescaps_plugin.analysis.capsule_views.warp_images`; the middle
            one is the identity.
        fill: Value outside a transformed image.

    Returns:
        ``layers``: measurements by layer. ``example``: of the first image, the most active type of the last layer that
        has poses (of class capsules: the class), with its pose and activation by transform.
    """
    activations, poses = {}, {}
    for warp in warps:
        records = record_capsules(classifier, warp_images(images, fill, **warp))
        for name, maps in activation_maps(records).items():
            activations.setdefault(name, []).append(maps.mean(dim=(2, 3)).cpu())
        for name, pose in whole_poses(records).items():
            poses.setdefault(name, []).append(pose.cpu())
    middle = len(warps) // 2
    layers = {
        name: asdict(measure_equivariance(values, poses.get(name), middle)) for name, values in activations.items()
    }
    last = [*poses][-1]
    kind = int(activations[last][middle][0].argmax())
    example = {
        'capsule': f'{last}, type {kind}',
        'pose': torch.stack([pose[0, kind] for pose in poses[last]]).tolist(),
        'activation': [activation[0, kind].item() for activation in activations[last]],
    }
    return {'layers': layers, 'example': example}


def _find_parts(records: Mapping[str, Recording]) -> dict[str, dict[str, np.ndarray]]:
    """Return the shares of part types in whole types, by method of measurement and layer."""
    by_weight, by_input = {}, {}
    for name, record in records.items():
        if input_layout(record.layer, record.read.shape[1]) is None:
            continue
        by_input[name] = shares(part_whole_by_input(record)).cpu().numpy()
        if isinstance(record.layer, (ResidualPoseRouting, ResidualPoseClassifier)):
            by_weight[name] = shares(part_whole_by_weight(record.layer)).numpy()
    found = {'kernel norms': by_weight, 'lost without the part': by_input}
    return {heading: matrices for heading, matrices in found.items() if matrices}


def _name_image(sample: BaseDataElement, classes: Sequence[str] | None) -> str:
    """Return the title of an image: its class, or the name of its file."""
    if 'gt_label' not in sample:
        return Path(sample.img_path).stem[:14]
    label = sample.gt_label.item()
    return str(label if classes is None else classes[label])
