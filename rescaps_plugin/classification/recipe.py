"""Describe in words how a config's test pipeline turns an image file into the input of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rescaps_plugin.data.pipelines import loads_image

SIDES = {'short': 'the shorter side', 'long': 'the longer side', 'width': 'the width', 'height': 'the height'}


def describe_pipeline(pipeline: Sequence[Mapping], channels: int) -> list[str]:
    """Describe the steps from an image file to the input of the data preprocessor.

    Args:
        pipeline: Configs of the transforms of the test pipeline.
        channels: Channels of the network's input.

    Returns:
        The steps, in order. A transform without a description here is named with its arguments.
    """
    color = channels == 3 or any(map(loads_image, pipeline))
    kind = 'colours' if color else 'grey values'
    steps = [f'decode the file to {kind} of 8 bits, rotate it as its EXIF orientation says, and drop its opacity']
    done = {'PackInputs'} if color else {'PackInputs', 'Grayscale'}
    steps += [_describe(step) for step in pipeline if not loads_image(step) and step['type'] not in done]
    if channels == 3:
        steps.append('order the channels as channel_order says')
    return steps


def _describe(step: Mapping) -> str:
    """Describe one transform; the defaults are those of MMCV and MMPretrain."""
    kind = step['type']
    options = {name: value for name, value in step.items() if name != 'type'}
    method = f'{options.get("interpolation", "bilinear")} by {options.get("backend", "cv2")}'
    if kind == 'Grayscale':
        return 'convert colours to grey: 0.299 red + 0.587 green + 0.114 blue, rounded'
    if kind == 'Resize' and 'scale' in options and not options.get('keep_ratio'):
        scale = options['scale']
        width, height = (scale, scale) if isinstance(scale, int) else scale
        return f'resize to width {width} and height {height}, without regard to proportions: {method}'
    if kind == 'ResizeEdge':
        side = SIDES[options.get('edge', 'short')]
        return f'resize so that {side} is {options["scale"]}; the other side is rounded down: {method}'
    if kind == 'CenterCrop':
        size = options['crop_size']
        width, height = (size, size) if isinstance(size, int) else size
        return f'crop width {width} and height {height} from the centre'
    if kind == 'Standardize':
        return 'subtract the mean of all values of the image and divide by their standard deviation'
    return f'apply {kind} of MMPretrain or MMCV with {options}'
