"""What the page computes, without a browser."""

import numpy as np
import pytest
import torch
from PIL import Image

for package in ('gradio', 'plotly', 'skimage', 'art', 'mmpretrain', 'mmseg'):
    pytest.importorskip(package)

from rescaps_plugin.cli.errors import UserError  # noqa: E402
from rescaps_plugin.demo.attack import attack  # noqa: E402
from rescaps_plugin.demo.classify import (  # noqa: E402
    LINEAR,
    View,
    compute_scores,
    draw_capsule_maps,
    follow,
    name_classes,
    read,
)
from rescaps_plugin.demo.clouds import reconstruct, swap  # noqa: E402
from rescaps_plugin.demo.drawings import DIGITS, place_ink  # noqa: E402
from rescaps_plugin.demo.examples import list_clouds, list_images, list_photographs  # noqa: E402
from rescaps_plugin.demo.figures import MAX_BARS, draw_bars, draw_cloud, draw_curves  # noqa: E402
from rescaps_plugin.demo.handlers import show_pictures  # noqa: E402
from rescaps_plugin.demo.models import Models, list_by_data  # noqa: E402
from rescaps_plugin.demo.saliency import detect  # noqa: E402
from rescaps_plugin.demo.uploads import MAX_MEGAPIXELS, check_size  # noqa: E402

DIGIT_MODEL = 'rescaps-tiny_digits'


@pytest.fixture(scope='module')
def models():
    return Models()


def test_models_are_loaded_once(models):
    assert models[DIGIT_MODEL] is models[DIGIT_MODEL]


def test_models_of_a_data_set_begin_with_residual_pose_routing():
    groups = list_by_data('pointcloud')
    assert all('rpr' in names[0] for names in groups.values())
    assert any('pointcaps-dynamic_digitclouds' in names[1:] for names in groups.values())


@pytest.mark.parametrize('data, side', [('MNIST', 28), ('affNIST, made of MNIST', 40)])
def test_ink_is_centred_and_scaled_as_in_mnist(data, side):
    assert data in list_by_data('classification')
    ink = np.zeros((320, 300), np.uint8)
    ink[10:90, 200:220] = 255
    image = place_ink(ink, data)
    rows, columns = np.nonzero(image)
    assert image.shape == (side, side) and np.ptp(rows) == 19
    assert all(abs(each.mean() - (side - 1) / 2) <= 0.5 for each in (rows, columns))


def test_faint_dot_of_ink_is_an_image():
    ink = np.zeros((320, 320), np.uint8)
    ink[5, 5] = 1
    assert place_ink(ink, DIGITS).shape == (8, 8)


def test_nothing_drawn_is_an_error():
    with pytest.raises(UserError, match='Nothing is drawn'):
        place_ink(np.zeros((320, 320), np.uint8), 'MNIST')


def test_view_moves_the_input(models):
    image = np.zeros((8, 8), np.uint8)
    image[3:5, 1] = 255
    inputs = read(models[DIGIT_MODEL], image)
    columns = torch.arange(inputs.shape[3]).float()

    def centre(view):
        ink = view.apply(inputs)[0, 0].float()
        return (ink.sum(0) @ columns / ink.sum()).item()

    assert torch.equal(View().apply(inputs), inputs)
    assert centre(View(right=25)) - centre(View()) == pytest.approx(4, abs=0.05)
    assert centre(View(turn=180)) == pytest.approx(15 - centre(View()), abs=0.05)


def test_digits_are_classified_beside_a_linear_model(models):
    right = dict.fromkeys((DIGIT_MODEL, LINEAR), 0)
    for example in list_images(DIGITS):
        for name, scores in compute_scores(models, DIGITS, example.image, View()).items():
            right[name] += scores.argmax() == example.label
    assert right[DIGIT_MODEL] == 10 and right[LINEAR] >= 8


def test_curves_pass_through_the_present_view(models):
    example = list_images(DIGITS)[3]
    view = View(turn=15)
    curves = follow(models[DIGIT_MODEL], example.image, view, 'turn')
    scores = compute_scores(models, DIGITS, example.image, view)[DIGIT_MODEL]
    now = int(np.flatnonzero(curves.values == 15)[0])
    np.testing.assert_allclose(curves.activations[now], scores, atol=1e-5)
    assert curves.best == 3 and curves.pose.shape == (len(curves.values), 16)
    assert np.ptp(curves.pose, axis=0).max() > 0.1


def test_capsule_maps_of_every_block(models):
    pictures = draw_capsule_maps(models[DIGIT_MODEL], list_images(DIGITS)[3].image, View())
    assert [name.partition('.routing')[0] for name in pictures] == ['blocks.0', 'blocks.1', 'blocks.2']
    assert all(picture.max() > 200 for picture in pictures.values())


@pytest.mark.parametrize(('name', 'best'), [('CIFAR-10 ', 1), ('CIFAR-100 ', 2)])
def test_examples_of_colour_are_recognised(models, name, best):
    data, names = next(item for item in list_by_data('classification').items() if item[0].startswith(name))
    for example in list_images(data):
        (scores,) = compute_scores(models, data, example.image, View()).values()
        assert example.label in np.argsort(-scores)[:best]
        assert name_classes(models[names[0]], len(scores))[example.label] == example.title


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / 'photo.png'
    Image.fromarray(list_photographs()['coffee']).save(path)
    return path


def test_detection_of_a_photo(models, photo):
    names = [name for names in list_by_data('saliency').values() for name in names]
    found = detect(models[names[0]], photo)
    assert found.cutout.mode == 'RGBA' and found.cutout.size == (600, 400)
    assert found.map.shape == (400, 600) and found.overlay.shape == (400, 600, 3)
    assert found.map[200, 300] > 200 > 50 > found.map[10, 10]
    assert found.seconds > 0 and set(found.sides) == {'pose', 'level1', 'level2', 'level3'}


def test_too_many_pixels_are_refused_by_the_header(tmp_path):
    path = tmp_path / 'large.png'
    Image.new('1', (10000, 10000)).save(path)
    with pytest.raises(UserError, match=f'10000 x 10000 pixels are 100 megapixels; up to {MAX_MEGAPIXELS}'):
        check_size(path)


def test_swap_exchanges_the_points_of_the_chosen_capsules(models):
    predictor = models['pointcaps-rpr_digitclouds']
    clouds = list_clouds()
    one, other = (reconstruct(predictor, clouds[title]) for title in ('digit 3', 'ring'))
    chosen = np.isin(one.capsules, [0, 5])
    for swapped, own, foreign in zip(swap(predictor, one, other, [0, 5]), (one, other), (other, one), strict=True):
        expected = np.where(chosen[:, None], foreign.reconstruction, own.reconstruction)
        np.testing.assert_allclose(swapped, expected, atol=1e-5)
    assert np.linalg.norm(one.reconstruction, axis=1).max() < 1.8
    assert one.input_colors.shape == one.points.shape


def test_attack_stays_within_epsilon_and_lowers_the_class(models):
    example = list_images(DIGITS)[3]
    result = attack(models, DIGIT_MODEL, example.image, example.label, 'pgd', 0.1)
    before, after, _ = (picture.astype(int) for picture in result.pictures)
    assert 0 < np.abs(after - before).max() <= 26
    assert result.after[DIGIT_MODEL][3] < result.before[DIGIT_MODEL][3] - 0.1
    assert set(result.after) == {DIGIT_MODEL, LINEAR}
    scores = compute_scores(models, DIGITS, example.image, View())
    for name, expected in scores.items():
        np.testing.assert_allclose(result.before[name], expected, atol=1e-4)


def test_attack_of_epsilon_zero_changes_nothing(models):
    example = list_images(DIGITS)[0]
    result = attack(models, DIGIT_MODEL, example.image, example.label, 'fgsm', 0.0)
    assert np.array_equal(result.pictures[0], result.pictures[1])
    np.testing.assert_array_equal(result.after[DIGIT_MODEL], result.before[DIGIT_MODEL])


def test_cloud_figure_has_y_up():
    figure = draw_cloud(np.array([[0.1, 0.2, 0.3]]), np.array([[255, 0, 0]]))
    (points,) = figure.data
    assert (points.x[0], points.y[0], points.z[0]) == (0.1, -0.3, 0.2)
    assert points.marker.color == ('rgb(255,0,0)',)


def test_curves_figure_marks_the_present_value():
    values = np.linspace(0, 1, 3)
    figure = draw_curves(values, {'a': values, 'b': values}, np.zeros((3, 4)), 0.5, 'scale')
    assert [line.name for line in figure.data[:2]] == ['a', 'b'] and len(figure.data) == 6
    assert {shape.x0 for shape in figure.layout.shapes} == {0.5}


def test_captions_are_escaped():
    assert '<b>' not in show_pictures({'<b>': np.zeros((2, 2), np.uint8)}, 10)


def test_of_many_classes_the_highest_are_drawn():
    scores = {'one': np.linspace(0, 0.5, 100), 'other': np.zeros(100)}
    scores['other'][7] = 0.9
    one, other = draw_bars([f'class {index}' for index in range(100)], scores, 'Scores').data
    assert list(one.x) == ['class 7', *(f'class {index}' for index in range(99, 100 - MAX_BARS, -1))]
    assert list(other.y) == [0.9] + [0] * (MAX_BARS - 1) and one.y[1] == 0.5
    few, _ = draw_bars(['a', 'b'], {name: values[:2] for name, values in scores.items()}, 'Scores').data
    assert list(few.x) == ['a', 'b']
