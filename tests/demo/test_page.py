"""The page in a real browser: Chromium without a window, through Playwright."""

import re
import shutil
import signal
from urllib.parse import urlparse

import numpy as np
import pytest
from PIL import Image

for package in ('gradio', 'plotly', 'skimage', 'art', 'mmpretrain', 'mmseg'):
    pytest.importorskip(package)
playwright = pytest.importorskip('playwright.sync_api')

from rescaps_plugin import zoo  # noqa: E402
from rescaps_plugin.demo.examples import list_photographs  # noqa: E402
from rescaps_plugin.demo.models import list_names  # noqa: E402
from tests.demo.server import LIMIT, Server  # noqa: E402

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'google-chrome'))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason='Chromium is not installed'),
]
TABS = ('Classify', 'Salient objects', 'Point clouds', 'Attack')
# Put a picture of a red square on white into the clipboard.
COPY = """async () => {
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [200, 150];
    const context = canvas.getContext('2d');
    context.fillStyle = 'white';
    context.fillRect(0, 0, 200, 150);
    context.fillStyle = 'red';
    context.fillRect(60, 40, 80, 70);
    const picture = await new Promise(done => canvas.toBlob(done, 'image/png'));
    await navigator.clipboard.write([new ClipboardItem({'image/png': picture})]);
}"""
TETRAHEDRON = 'OFF\n4 4 0\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n3 0 1 2\n3 0 1 3\n3 0 2 3\n3 1 2 3\n'
# Values of a figure, or null while it is not drawn.
FIGURE = """name => document.querySelector(`#${name} .js-plotly-plot`)?.data?.map(each => {
    const y = each.y?._inputArray ?? each.y;
    return y ? Array.from(y) : null;
}) ?? null"""


@pytest.fixture(scope='module')
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp('server'))
    yield server
    assert server.stop(signal.SIGINT) == 0
    left = [*server.home.iterdir(), *server.temporary.iterdir()]
    assert [path for path in left if not path.name.startswith('torchinductor_')] == []  # made by import torch
    assert 'Traceback' not in server.log.read_text()


@pytest.fixture(scope='module')
def browser():
    with playwright.sync_playwright() as started:
        # Without a GPU, WebGL is drawn by the processor; the camera is a moving picture.
        camera = ['--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream']
        browser = started.chromium.launch(executable_path=CHROMIUM, args=['--enable-unsafe-swiftshader', *camera])
        yield browser
        browser.close()


@pytest.fixture
def open_page(server, browser):
    """Open the page; at the end, no request went to another host, and no script failed."""
    hosts, errors = set(), []

    def open_(width=1280):
        page = browser.new_page(viewport=dict(width=width, height=900))
        page.set_default_timeout(1000 * LIMIT)
        page.on('request', lambda request: hosts.add(urlparse(request.url).hostname))
        page.on('pageerror', lambda error: errors.append(str(error)))
        page.goto(server.url)
        read_figure(page, 'classify-bars')
        return page

    yield open_
    for context in browser.contexts:
        context.close()
    assert hosts <= {'127.0.0.1', None}, hosts  # None: pictures in the page itself
    assert not errors


def read_figure(page, name, unlike=None):
    """Return the y values of the lines or bars of a figure, once it is drawn and differs from ``unlike``."""
    changed = (
        f'([name, unlike]) => {{const now = ({FIGURE})(name); return now && JSON.stringify(now) != unlike && now}}'
    )
    page.wait_for_function(changed, arg=[name, unlike and page.evaluate('JSON.stringify', unlike)])
    return page.evaluate(FIGURE, name)


def open_tab(page, name):
    """Open a tab, from the menu of those that a narrow page has no room for if it is there."""
    tab = page.locator('.tab-container').get_by_role('tab', name=name)
    if not tab.is_visible():
        page.locator('.overflow-menu > button').click()
        tab = page.locator('.overflow-dropdown button', has_text=name)
    tab.click()


def read_error(page, text):
    """Wait for an error message with a text, close it, and return it."""
    toast = page.locator('.toast-body', has_text=text)
    message = toast.inner_text()
    toast.locator('.toast-close').click()
    return message


def draw_seven(page):
    canvas = page.locator('#sketch canvas').first
    page.locator('#sketch button[aria-label="Erase"]').wait_for()
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    x, y = box['x'] + box['width'] / 2, box['y'] + box['height'] / 2
    page.mouse.move(x - 45, y - 70)
    page.mouse.down()
    page.mouse.move(x + 45, y - 70, steps=8)
    page.mouse.move(x - 10, y + 80, steps=8)
    page.mouse.up()
    page.locator('#sketch button[aria-label="Undo"]:not([disabled])').wait_for()


def test_drawn_digit_is_classified_and_turned(open_page):
    page = open_page()
    example = read_figure(page, 'classify-bars')
    classify = page.get_by_role('button', name='Classify the drawing')
    classify.click()
    read_error(page, 'Nothing is drawn')
    draw_seven(page)
    classify.click()
    bars = read_figure(page, 'classify-bars', unlike=example)
    assert np.argmax(bars[0]) == 7
    curves = read_figure(page, 'classify-curves')
    slider = page.locator('#slider-turn input[type="range"]')
    slider.focus()
    for _ in range(3):
        slider.press('ArrowRight')
    turned = read_figure(page, 'classify-bars', unlike=bars)
    assert np.argmax(turned[0]) == 7
    page.wait_for_function(
        "document.querySelector('#classify-curves .js-plotly-plot').layout.shapes.every(each => each.x0 === 3)"
    )
    page.locator('#slider-scale input[type="range"]').focus()
    page.keyboard.press('ArrowLeft')
    read_figure(page, 'classify-curves', unlike=curves)
    assert page.locator('#maps figure').count() == 4


def test_uploaded_picture_is_classified(open_page, tmp_path):
    page = open_page()
    start = read_figure(page, 'classify-bars')
    page.get_by_label('CIFAR-10 (').click()
    cat = read_figure(page, 'classify-bars', unlike=start)
    assert np.argmax(cat[0]) == 3
    (tmp_path / 'notes.png').write_text('not a picture')
    upload = page.locator('#classify-upload input[type="file"]')
    upload.set_input_files(tmp_path / 'notes.png')
    assert '/' not in read_error(page, 'notes.png: not an image in a supported format')
    Image.fromarray(np.full((64, 64, 3), (90, 140, 220), np.uint8)).save(tmp_path / 'sky.png')
    page.locator('#classify-upload').get_by_role('button', name=re.compile('Clear|Remove')).click()
    upload.set_input_files(tmp_path / 'sky.png')
    read_figure(page, 'classify-bars', unlike=cat)


def download_cutout(page):
    """Wait for the maps of a photo; return the first cut-out, and the name that its file has for the user."""
    page.get_by_text(' ms for the map').first.wait_for()
    with page.expect_download() as downloaded:
        page.get_by_role('button', name='Download the cut-out').first.click()
    with Image.open(downloaded.value.path()) as cutout:
        assert (cutout.format, cutout.mode) == ('PNG', 'RGBA')
        return np.asarray(cutout), downloaded.value.suggested_filename


def test_object_is_cut_out_and_downloaded(open_page, tmp_path):
    page = open_page()
    open_tab(page, 'Salient objects')
    page.get_by_role('button', name='Find the object').click()
    read_error(page, 'There is no photo')
    Image.new('1', (10000, 10000)).save(tmp_path / 'large.png')
    upload = page.locator('#photo input[type="file"]')
    upload.set_input_files(tmp_path / 'large.png')
    read_error(page, '10000 x 10000 pixels are 100 megapixels')
    page.locator('#photo').get_by_role('button', name=re.compile('Clear|Remove')).click()
    Image.fromarray(list_photographs()['coffee']).save(tmp_path / 'coffee.jpg')
    upload.set_input_files(tmp_path / 'coffee.jpg')
    cutout, name = download_cutout(page)
    for picture in ('map', 'overlay', 'cut-out'):
        page.locator(f'.{picture} img').first.wait_for()
    assert cutout.shape == (400, 600, 4) and name == 'coffee-cutout.png'
    assert cutout[200, 300, 3] > 200 > 50 > cutout[10, 10, 3]


def test_pasted_picture_is_cut_out_with_a_refined_edge(open_page):
    page = open_page()
    page.context.grant_permissions(['clipboard-read', 'clipboard-write'])
    open_tab(page, 'Salient objects')
    page.get_by_label('Refine the edge').check()
    page.evaluate(COPY)
    page.locator('#photo button[aria-label="Paste from clipboard"]').click()
    picture = np.full((150, 200, 3), 255, np.uint8)
    picture[40:110, 60:140] = (255, 0, 0)
    found = zoo.load(list_names('saliency')[0]).predict(picture)
    plain, refined = (np.asarray(found.cutout(refine))[..., 3] for refine in (False, True))
    opacity = download_cutout(page)[0][..., 3]
    assert np.abs(opacity.astype(int) - refined).max() <= 2 < np.abs(opacity.astype(int) - plain).max()


def test_object_is_cut_out_of_a_photo_of_the_camera(open_page):
    page = open_page()
    page.context.grant_permissions(['camera'])
    open_tab(page, 'Salient objects')
    page.locator('#photo button[aria-label="Capture from camera"]').click()
    page.locator('#photo').get_by_text('Click to Access Webcam').click()
    page.wait_for_function("document.querySelector('#photo video')?.currentTime > 0")
    page.locator('#photo button[aria-label="capture photo"]').click()
    opacity = download_cutout(page)[0][..., 3]
    height, width = opacity.shape
    assert 3 * width == 4 * height and opacity.max() > opacity.min()


def test_too_large_file_is_refused(open_page, tmp_path):
    page = open_page()
    open_tab(page, 'Salient objects')
    (tmp_path / 'huge.png').write_bytes(bytes(41 * 2**20))
    page.locator('#photo input[type="file"]').set_input_files(tmp_path / 'huge.png')
    read_error(page, 'size')


def test_own_mesh_is_reconstructed_and_swapped(open_page, tmp_path):
    page = open_page()
    open_tab(page, 'Point clouds')
    digit = read_figure(page, 'cloud-input')
    upload = page.locator('input[type="file"][accept*=".off"]')
    for name, text, fault in (('empty.ply', '', 'not a valid .ply file'), ('none.off', 'OFF\n0 0 0\n', 'no vertices')):
        (tmp_path / name).write_text(text)
        upload.set_input_files(tmp_path / name)
        assert read_error(page, fault).splitlines()[-1].startswith(name)
    (tmp_path / 'mesh.off').write_text(TETRAHEDRON)
    upload.set_input_files(tmp_path / 'mesh.off')
    mesh = read_figure(page, 'cloud-input', unlike=digit)
    assert len(mesh[0]) == len(read_figure(page, 'cloud-output')[0]) == 512
    swapped = read_figure(page, 'swap-a')
    assert len(swapped) == 2  # points that stay, and those that were swapped
    page.locator('#capsules .token-remove').first.click()
    assert len(read_figure(page, 'swap-a', unlike=swapped)[1]) < len(swapped[1])


def test_attack_follows_epsilon(open_page):
    page = open_page()
    open_tab(page, 'Attack')
    first = read_figure(page, 'attack-after')
    before = read_figure(page, 'attack-before')
    page.get_by_label('PGD').click()
    stronger = read_figure(page, 'attack-after', unlike=first)
    slider = page.locator('#epsilon input[type="range"]')
    slider.focus()
    slider.press('Home')
    assert read_figure(page, 'attack-after', unlike=stronger) == before
    page.locator('#attack-examples button').nth(7).click()
    other = read_figure(page, 'attack-after', unlike=before)
    assert np.argmax(other[0]) == 7


def test_two_users_at_once(open_page):
    pages = [open_page(), open_page()]
    starts = [read_figure(page, 'classify-bars') for page in pages]
    for page, digit in zip(pages, (4, 8), strict=True):
        page.locator('#classify-examples button').nth(digit).click()
    for page, start, digit in zip(pages, starts, (4, 8), strict=True):
        assert np.argmax(read_figure(page, 'classify-bars', unlike=start)[0]) == digit


@pytest.mark.parametrize('width', [390])
def test_narrow_page_does_not_scroll_sideways(open_page, width):
    page = open_page(width)
    for tab, figure in zip(TABS, ('classify-curves', None, 'swap-a', 'attack-after'), strict=True):
        open_tab(page, tab)
        if figure:
            read_figure(page, figure)
        assert page.evaluate('document.documentElement.scrollWidth') <= width, tab
