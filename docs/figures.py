#!/usr/bin/env python
"""Draw the figures of README.md and of the site: python docs/figures.py [FOLDER], docs/images by default.

Their numbers come from the published models and from data that scikit-learn brings, so that they need no download.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import timm
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch
from sklearn.datasets import load_sample_image
from sklearn.linear_model import RidgeCV
from torch import Tensor, nn

from rescaps_plugin import zoo
from rescaps_plugin.analysis.capsule_views import warp_images
from rescaps_plugin.data.digits import load_digits
from rescaps_plugin.layers import ResidualPoseRouting
from rescaps_plugin.pointcloud.datasets import DigitClouds

TEXT, MUTED, LINE = '#1f2937', '#6b7280', '#9ca3af'
LITERAL, COMPOSED = '#c2410c', '#0f766e'
POSES, WEIGHTS = 'viridis', 'RdBu_r'


def card(width: float, height: float, units: float) -> tuple[Figure, Axes]:
    """Return a figure in inches that is a white card, readable on any page, and its axes, ``units`` wide."""
    figure = Figure((width, height), dpi=200, facecolor='none')
    axes = figure.add_axes((0, 0, 1, 1), facecolor='none')
    tall = units * height / width
    axes.set(xlim=(0, units), ylim=(0, tall), aspect='equal')
    axes.axis('off')
    rounded = 'round,pad=0,rounding_size=2.5'
    axes.add_patch(FancyBboxPatch((0.4, 0.4), units - 0.8, tall - 0.8, rounded, fc='white', ec='#d1d5db', zorder=-2))
    return figure, axes


def write(axes: Axes, x: float, y: float, text: str, size: float = 9, color: str = TEXT, **options) -> None:
    axes.text(x, y, text, size=size, color=color, **{'ha': 'center', 'va': 'center', **options})


def arrow(axes: Axes, *points: tuple[float, float], color: str = LINE) -> None:
    """Draw a line through the points, with a head at the last."""
    axes.plot(*zip(*points[:-1], strict=True), color=color, linewidth=1.2, solid_capstyle='butt', zorder=-1)
    style = dict(arrowstyle='-|>', color=color, linewidth=1.2, shrinkA=0, shrinkB=0, mutation_scale=9)
    axes.annotate('', points[-1], points[-2], arrowprops=style)


def box(axes: Axes, x: float, y: float, width: float, height: float, text: str, color: str) -> None:
    """Draw a labelled box around its centre."""
    corner = x - width / 2, y - height / 2
    axes.add_patch(FancyBboxPatch(corner, width, height, 'round,pad=0,rounding_size=1', fc=color, ec='none'))
    write(axes, x, y, text, color='white', weight='bold', linespacing=1.25)


def matrices(axes: Axes, x: float, y: float, side: float, values: Tensor, cmap: str) -> None:
    """Draw a 3x3 window of matrices ``[9, p, p]`` around its centre, or a single one ``[p, p]``."""
    window = values if values.dim() == 3 else values[None]
    number = round(len(window) ** 0.5)
    step = side / number
    size = step * (0.88 if number > 1 else 1)
    bound = values.abs().max().item()
    low = -bound if cmap == WEIGHTS else 0
    for k, matrix in enumerate(window):
        left = x - side / 2 + k % number * step + (step - size) / 2
        top = y + side / 2 - k // number * step - (step - size) / 2
        extent = (left, left + size, top - size, top)
        axes.imshow(matrix.numpy(), cmap, vmin=low, vmax=bound, extent=extent, interpolation='nearest', aspect='auto')


def digits_model() -> tuple[nn.Module, Callable[[np.ndarray], Tensor]]:
    """Return the published network for Digits, and a function from an 8x8 digit to its input ``[1, 1, h, w]``."""
    model = timm.create_model('rescaps_tiny.digits', pretrained=True).eval()
    size, mean, std = (model.pretrained_cfg[key] for key in ('input_size', 'mean', 'std'))

    def preprocess(image: np.ndarray) -> Tensor:
        image = torch.tensor(image / 16, dtype=torch.float32)[None, None]
        return (F.interpolate(image, size[1:], mode='bicubic').clamp(0, 1) - mean[0]) / std[0]

    return model, preprocess


def digits_layer() -> tuple[ResidualPoseRouting, Tensor]:
    """Return a ResP layer of the network, and the poses ``[1, n * p * p, h, w]`` that it reads of a digit."""
    model, preprocess = digits_model()
    layer, read = model.blocks[0].routing2, []
    handle = layer.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    model(preprocess(load_digits('test', 'classification')[0][2]))
    handle.remove()
    return layer, read[0]


def literal_form(layer: ResidualPoseRouting, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute a ResP layer as its equations read.

    Letters: ``n`` capsule type, ``k`` window offset, ``i j`` rows and columns of a pose, ``o`` output, ``l`` position.

    Returns:
        Poses ``p`` and ``p (1 + w)`` of the windows ``[n, i, j, k, l]``, activations ``[k * n, h, w]``, and the output.
    """
    poses = F.unfold(x, 3, padding=1).reshape(layer.capsule_types, 4, 4, 9, -1)
    transformed = torch.einsum('nimkl,knmj->nijkl', poses, layer.one + layer.weight)
    own, weight = (each.unflatten(3, (4, 4)) for each in (layer.activation_weight, layer.pose_weight))
    logit = torch.einsum('knoij,nijkl->ol', own, transformed).unflatten(1, x.shape[2:])[None]
    activation = torch.sigmoid(layer.activation_norm(logit))
    pose = torch.einsum('knoij,nijkl->ol', weight, transformed).unflatten(1, x.shape[2:])[None]
    return poses, transformed, activation[0], F.relu(layer.norm(pose + layer.mix(activation)))


@torch.no_grad()
def draw_rpr(path: Path) -> None:
    """Draw residual pose routing as its equations read, and as convolutions with composed kernels."""
    layer, x = digits_layer()
    poses, transformed, activations, output = literal_form(layer, x)
    difference = (output - layer(x)).abs().max().item()

    row, column = 4, 4  # of the 8x8 map; capsule type 0
    window, moved = (each[0, :, :, :, 8 * row + column].permute(2, 0, 1) for each in (poses, transformed))
    transform = layer.one + layer.weight[:, 0]
    own, weight = (each[:, 0, 0].unflatten(1, (4, 4)) for each in (layer.activation_weight, layer.pose_weight))
    activation = activations[::4, row, column].unflatten(0, (3, 3))
    pose, active = output[0, :16, row, column].unflatten(0, (4, 4)), output[0, 64, row, column].item()

    figure, axes = card(8, 4.3, 160)

    def draw_output(y: float) -> None:
        write(axes, 148, y + 8.7, 'pose', 8, MUTED)
        write(axes, 148, y - 10.3, 'activation', 8, MUTED)
        matrices(axes, 148, y + 1.5, 9, pose, POSES)
        axes.add_patch(Circle((148, y - 6.2), 1.9, fc=matplotlib.colormaps['Greys'](active), ec=LINE))

    # The equations.
    y = 59
    write(axes, 4, 80.5, 'The equations', 12, LITERAL, ha='left', weight='bold')
    write(axes, 40, 80.5, 'copy every pose for every window, transform it, convolve', 9.5, MUTED, ha='left')
    matrices(axes, 15, y, 20, window, POSES)
    write(axes, 15, y + 13, 'poses $p$')
    write(axes, 15, y - 13, 'a window of\n4×4 matrices', 8, MUTED)
    write(axes, 29, y, '×', 15, LITERAL)
    matrices(axes, 43, y, 20, transform, WEIGHTS)
    write(axes, 43, y + 13, '$1 + w$')
    write(axes, 43, y - 13, 'identity + learned\nmatrices', 8, MUTED)
    write(axes, 57, y, '=', 15, LITERAL)
    matrices(axes, 71, y, 20, moved, POSES)
    write(axes, 71, y + 13, r"$p' = p\,(1 + w)$")
    write(axes, 71, y - 13, '9 copies of the map\nin memory', 8, LITERAL)
    arrow(axes, (82, y), (85, y), (85, y + 9), (88.5, y + 9), color=LITERAL)
    box(axes, 97, y + 9, 16.5, 8, 'conv $V_a$, σ', LITERAL)
    arrow(axes, (105.5, y + 9), (108.8, y + 9), color=LITERAL)
    matrices(axes, 113, y + 9, 8, activation, 'Greys')
    write(axes, 113, y + 15.5, '$a$')
    arrow(axes, (118, y + 9), (126, y + 9), (126, y + 5), color=LITERAL)
    arrow(axes, (82, y), (119, y), color=LITERAL)
    write(axes, 108, y - 3.2, "$[p', a]$")
    box(axes, 126, y, 13, 10, 'conv $V_p$,\nReLU', LITERAL)
    arrow(axes, (133, y), (142, y), color=LITERAL)
    draw_output(y)

    # The same with composed kernels.
    y = 18
    axes.plot((4, 136), (41.5, 41.5), color='#e5e7eb', linewidth=1)
    write(axes, 4, 36.5, 'This library', 12, COMPOSED, ha='left', weight='bold')
    write(axes, 40, 36.5, 'put $1 + w$ into the kernels, and convolve the map itself', 9.5, MUTED, ha='left')
    matrices(axes, 15, y, 20, window, POSES)
    write(axes, 15, y - 13, 'the same $p$', 8, MUTED)
    for height, kernel, name in ((7, own, 'a'), (-7, weight, 'p')):
        arrow(axes, (26, y), (31, y), (31, y + height), (38, y + height), color=COMPOSED)
        write(axes, 34.2, y + height + 2.3, 'conv', 8, COMPOSED)
        matrices(axes, 45, y + height, 12, kernel @ transform.transpose(1, 2), WEIGHTS)
        write(axes, 53, y + height + 3.4, rf'$K_{name} = V_{name}\,(1 + w)^\mathsf{{T}}$', ha='left')
    write(axes, 53, y - 10.4, 'composed once per step, for any batch and image size', 8, MUTED, ha='left')
    arrow(axes, (52, y + 7), (81, y + 7), color=COMPOSED)
    box(axes, 86, y + 7, 9, 8, 'σ', COMPOSED)
    arrow(axes, (91, y + 7), (95, y + 7), color=COMPOSED)
    matrices(axes, 100, y + 7, 8, activation, 'Greys')
    write(axes, 100, y + 13.5, '$a$')
    arrow(axes, (105, y + 7), (108, y + 7), color=COMPOSED)
    box(axes, 113, y + 7, 9, 8, '1×1', COMPOSED)
    arrow(axes, (118, y + 7), (126, y + 7), (126, y + 5), color=COMPOSED)
    arrow(axes, (52, y - 7), (126, y - 7), (126, y - 5), color=COMPOSED)
    box(axes, 126, y, 13, 10, '+, ReLU', COMPOSED)
    arrow(axes, (133, y), (142, y), color=COMPOSED)
    draw_output(y)

    write(axes, 148, 41, '=', 20, weight='bold')
    write(axes, 148, 36, rf'to $10^{{{math.ceil(math.log10(difference))}}}$', 8, MUTED)
    figure.savefig(path)


def turned_digits(split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Turn the digits of a split at random, and return what the third block's capsules make of them.

    Returns:
        Images ``[b, h, w]``, angles ``[b]`` from -45 to 45 degrees, poses ``[b, n * p * p * h * w]`` and activations
        ``[b, n * h * w]``.
    """
    model, preprocess = digits_model()
    images = torch.cat([preprocess(image) for image in load_digits(split, 'classification')[0]])
    angles = np.random.RandomState(0).uniform(-45, 45, len(images))
    fill = images.min().item()
    turned = [warp_images(image[None], fill, rotation=angle) for image, angle in zip(images, angles, strict=True)]
    turned = torch.cat(turned)
    _, poses, activations = model.forward_capsules(turned)[2]
    return turned[:, 0].numpy(), angles, poses.flatten(1).numpy(), activations.flatten(1).numpy()


@torch.no_grad()
def draw_overview(path: Path) -> None:
    """Draw what the published models do: the pose of a turned digit, a cut-out, reconstructed clouds."""
    figure, axes = card(8, 3.1, 160)

    def heading(x: float, title: str, text: str) -> None:
        write(axes, x, 56.5, title, 11, COMPOSED, weight='bold')
        write(axes, x, 51.5, text, 8, MUTED)

    def panel(x: float, y: float, width: float, height: float, **options) -> Axes:
        """Add axes at a place in units of the card."""
        return figure.add_axes((x / 160, y / 62, width / 160, height / 62), facecolor='none', **options)

    heading(31, 'Classify, and keep the pose', 'the angle of a digit, read from the third block')
    _, angles, *train = turned_digits('train')
    images, true, *test = turned_digits('test')
    is_three = load_digits('test', 'classification')[1] == 3
    threes = images[is_three]
    left, width = 12, 44
    for angle in range(-30, 31, 15):
        middle = left + width * (angle + 47) / 94
        nearest = threes[np.abs(true[is_three] - angle).argmin()]
        axes.imshow(nearest, 'Greys', extent=(middle - 2.8, middle + 2.8, 42, 47.6), aspect='auto')
    plot = panel(left, 9, width, 31)
    for features, held, name, color in zip(train, test, ('poses', 'activations'), (COMPOSED, LINE), strict=True):
        read = RidgeCV(np.logspace(-2, 4, 13)).fit(features, angles).predict(held)
        label = f'{name}: off by {np.abs(read - true).mean():.0f}°'
        plot.scatter(true, read, 4, color, linewidths=0, label=label, zorder=2 if name == 'poses' else 1)
    plot.legend(
        fontsize=7, labelcolor=TEXT, loc='upper left', frameon=False, handletextpad=0, borderpad=0, markerscale=2
    )
    plot.set(xlim=(-47, 47), ylim=(-60, 75), xticks=range(-30, 31, 15), yticks=(-45, 0, 45))
    plot.tick_params(labelsize=7, colors=MUTED, length=2)
    plot.spines[['top', 'right']].set_visible(False)
    plot.spines[['left', 'bottom']].set_color(LINE)
    plot.xaxis.set_major_formatter('{x:.0f}°')
    plot.yaxis.set_major_formatter('{x:.0f}°')

    heading(86, 'Cut out salient objects', 'without a prompt; 6.2 M parameters')
    photo = load_sample_image('china.jpg')
    cutout = zoo.load('icon-rpr_efficientnet-lite0_ecssd').predict(photo).cutout()
    height = 33 * photo.shape[0] / photo.shape[1]
    squares = np.indices((16, 24)).sum(0) % 2
    for y, picture in ((26.5, photo), (3, squares), (3, cutout)):
        axes.imshow(picture, 'Greys', vmax=8, extent=(69.5, 102.5, y, y + height), aspect='auto')

    heading(135, 'Reconstruct point clouds', 'from 32 latent capsules')
    clouds = DigitClouds(split='test', num_points=512)
    predictor = zoo.load('pointcaps-rpr_digitclouds')
    for x, index in ((113, 8), (133, 3)):
        cloud = clouds[index]['points']
        for y, points, color in ((25, cloud, LINE), (1, predictor.predict(cloud).points, COMPOSED)):
            view = panel(x, y, 24, 25, projection='3d')
            view.scatter(*(points[:, (0, 2, 1)] * (1, -1, 1)).T, s=3, color=color, linewidths=0)
            view.set_aspect('equal', adjustable='datalim')
            view.set_box_aspect((1, 1, 1), zoom=1.6)
            view.view_init(elev=15, azim=-60)
            view.axis('off')
    figure.savefig(path, pil_kwargs=dict(quality=80))  # the photograph takes 340 kB in PNG


FIGURES = {'rpr.png': draw_rpr, 'overview.webp': draw_overview}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('folder', nargs='?', type=Path, default=Path(__file__).with_name('images'))
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, draw in FIGURES.items():
        draw(folder / name)
        print(folder / name)


if __name__ == '__main__':
    main()
