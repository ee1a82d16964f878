"""Draw what the capsules of a trained classifier see.

    python tools/visualise_capsules.py CONFIG CHECKPOINT                # images of the config's own test set
    python tools/visualise_capsules.py CONFIG CHECKPOINT photo.jpg photos/    # these alone

Writes to work_dirs/<config>/capsules:

    activations.png   activation maps of the types of every capsule layer
    equivariance.png  an input turned and shifted: the entries of its class capsule's pose; by layer, how much
                      activations and poses change, and what of that one linear map of each type's pose leaves
    part_whole.png    how much every part type contributes to every whole type of the routing layers, in per cent: by
                      the norms of composed kernels (residual pose routing), and on the images, by what a whole loses
                      without a part
    capsules.json     the numbers behind the last two
"""

from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rescaps_plugin.cli.errors import UserError
from rescaps_plugin.cli.reporting import user_errors

with user_errors():
    import numpy as np
    import torch
    from mmengine.device import get_device
    from mmengine.fileio import dump
    from mmengine.structures import BaseDataElement
    from mmpretrain.datasets import build_dataset
    from mmpretrain.models import BaseClassifier
    from torch import Tensor

    from rescaps_plugin.analysis.capsule_views import (
        activation_maps,
        input_layout,
        measure_equivariance,
        part_whole_by_input,
        part_whole_by_weight,
        recording,
        shares,
        warp_images,
        whole_poses,
    )
    from rescaps_plugin.analysis.drawing import draw_equivariance, draw_maps, draw_matrices
    from rescaps_plugin.classification.image_inputs import ImageFiles, reads_bgr
    from rescaps_plugin.classification.inference import load_images, open_classifier
    from rescaps_plugin.cli.arguments import add_config_arguments, positive_int
    from rescaps_plugin.data.folders import find_files
    from rescaps_plugin.data.images import IMAGE_SUFFIXES
    from rescaps_plugin.data.pictures import to_picture
    from rescaps_plugin.data.subset import evenly_spaced
    from rescaps_plugin.layers import ResidualPoseClassifier, ResidualPoseRouting

# Turned by degrees, shifted by parts of the width.
ANGLES = tuple(range(-60, 61, 10))
SHIFTS = tuple(step / 20 for step in range(-5, 6))


@torch.no_grad()
def run(classifier: BaseClassifier, images: Tensor) -> dict:
    """Run images as the pipeline leaves them; gives what every capsule layer read and gave."""
    with recording(classifier) as records:
        classifier(classifier.data_preprocessor({'inputs': images})['inputs'])
    return records


def follow(classifier: BaseClassifier, images: Tensor, warps: Sequence[dict], fill: float) -> dict[str, Any]:
    """Measure every layer under transforms of the images; the identity is in the middle.

    Returns:
        ``layers``: measurements by layer. ``example``: of the first image, the most active type of the last layer that
        has poses (of class capsules: the class), with its pose and activation by transform.
    """
    activations, poses = {}, {}
    for warp in warps:
        records = run(classifier, warp_images(images, fill, **warp))
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


def find_parts(records: dict) -> dict[str, dict[str, np.ndarray]]:
    """Give the shares of part types in whole types, by how they were found and layer."""
    by_weight, by_input = {}, {}
    for name, record in records.items():
        if input_layout(record.layer, record.read.shape[1]) is None:
            continue
        by_input[name] = shares(part_whole_by_input(record)).cpu().numpy()
        if isinstance(record.layer, (ResidualPoseRouting, ResidualPoseClassifier)):
            by_weight[name] = shares(part_whole_by_weight(record.layer)).numpy()
    found = {'kernel norms': by_weight, 'lost without the part': by_input}
    return {heading: matrices for heading, matrices in found.items() if matrices}


def describe(sample: BaseDataElement, classes: Sequence[str] | None) -> str:
    """Name an image: by its class, or by its file."""
    if 'gt_label' not in sample:
        return Path(sample.img_path).stem[:14]
    label = sample.gt_label.item()
    return str(label if classes is None else classes[label])


def visualise(args: Namespace) -> None:
    cfg, classifier = open_classifier(args.config, args.checkpoint, args)
    if args.inputs:
        samples = ImageFiles(find_files(args.inputs, 'images', IMAGE_SUFFIXES), cfg, classifier)
    else:
        samples = build_dataset(cfg.test_dataloader.dataset)
    batch = load_images(samples, evenly_spaced(len(samples), args.images))
    records = run(classifier, batch['inputs'])
    maps = activation_maps(records)
    if not maps:
        raise UserError(f'config {args.config}: the model has no capsule layers of rescaps_plugin.layers.')

    out_dir = args.out_dir or Path(cfg.work_dir, 'capsules')
    out_dir.mkdir(parents=True, exist_ok=True)
    titles = [describe(sample, getattr(samples, 'metainfo', {}).get('classes')) for sample in batch['data_samples']]
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
        title: {'transforms': values, **follow(classifier, many, warps, args.fill)}
        for title, (values, warps) in curves.items()
    }
    draw_equivariance(followed, out_dir / 'equivariance.png')

    parts = find_parts(run(classifier, many))
    draw_matrices(parts, out_dir / 'part_whole.png')
    numbers = {
        'config': args.config,
        'checkpoint': args.checkpoint,
        'images': len(many),
        'equivariance': followed,
        'part_whole': {how: {name: m.tolist() for name, m in found.items()} for how, found in parts.items()},
    }
    dump(numbers, str(out_dir / 'capsules.json'), indent=2)
    print(f'wrote activations.png, equivariance.png, part_whole.png and capsules.json to {out_dir}')


def parse_args(argv: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument('config', help='path of the config, or package::path')
    parser.add_argument('checkpoint', help='path or URL of the checkpoint')
    parser.add_argument(
        'inputs',
        nargs='*',
        metavar='INPUT',
        help="image files, or folders of them at any depth; none: the config's test set",
    )
    parser.add_argument('--images', type=positive_int, default=3, help='in activations.png (default: 3)')
    parser.add_argument(
        '--curve-images', type=positive_int, default=128, help='to measure equivariance and parts on (default: 128)'
    )
    parser.add_argument(
        '--fill', type=float, default=0.0, help='value of what lies outside a transformed image (default: 0)'
    )
    parser.add_argument('--device', default=get_device(), help='cpu, cuda, cuda:1, ... (default: %(default)s)')
    parser.add_argument('--out-dir', type=Path, help='folder to write to (default: work_dirs/<config>/capsules)')
    add_config_arguments(parser)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    with user_errors():
        visualise(args)


if __name__ == '__main__':
    main()
