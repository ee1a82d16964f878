"""The site builds without warnings and a network, its links lead somewhere, and every public name is on it."""

import importlib
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from types import ModuleType
from urllib.parse import unquote, urlsplit

import pytest

for package in ('sphinx', 'mmpretrain', 'mmseg', 'h5py'):
    pytest.importorskip(package)

pytestmark = pytest.mark.slow

# Attributes of elements that browsers load with a page.
LOADED = {'script': 'src', 'link': 'href', 'img': 'src', 'iframe': 'src', 'source': 'src', 'video': 'src'}


class Page(HTMLParser):
    """Links, files and anchors of a page."""

    def __init__(self, text):
        super().__init__()
        self.links, self.files, self.anchors = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if 'id' in attributes:
            self.anchors.add(attributes['id'])
        if tag == 'a' and 'href' in attributes:
            self.links.append(attributes['href'])
        elif tag in LOADED and LOADED[tag] in attributes:
            self.files.append(attributes[LOADED[tag]])


@pytest.fixture(scope='module')
def site(repository, tmp_path_factory):
    """Build the site by the command of docs/install.md, without a network."""
    command = re.search(r'^sphinx-build (.*) build/site$', (repository / 'docs/install.md').read_text(), re.MULTILINE)
    folder = tmp_path_factory.mktemp('site')
    environment = {**os.environ, 'PYTHONPATH': str(repository), 'OMP_NUM_THREADS': '1'}
    environment.update(dict.fromkeys(('http_proxy', 'https_proxy', 'all_proxy'), 'http://127.0.0.1:9'))
    arguments = [sys.executable, '-m', 'sphinx', *command[1].split(), str(folder)]
    result = subprocess.run(arguments, cwd=repository, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope='module')
def pages(site):
    return {path: Page(path.read_text(encoding='utf-8')) for path in site.rglob('*.html')}


def target(page, url):
    """Return the file that a relative link of a page leads to."""
    return (page.parent / unquote(url.path)).resolve() if url.path else page


def test_links_lead_to_pages_and_anchors(pages):
    assert len(pages) > 40
    for path, page in pages.items():
        for link in page.links:
            url = urlsplit(link)
            if url.scheme:
                assert url.scheme == 'https' and re.fullmatch(r'[\w-]+(\.[\w-]+)+', url.netloc), f'{path.name}: {link}'
                continue
            file = target(path, url)
            assert file.is_file(), f'{path.name}: {link}'
            if url.fragment and file in pages:
                assert unquote(url.fragment) in pages[file].anchors, f'{path.name}: {link}'


def test_pages_load_files_of_the_site_alone(site, pages):
    for path, page in pages.items():
        for file in page.files:
            url = urlsplit(file)
            assert not url.netloc, f'{path.name}: {file}'
            assert url.scheme == 'data' or target(path, url).is_file(), f'{path.name}: {file}'
    for sheet in site.rglob('*.css'):
        assert not re.search(r'(@import|url\()[\s"\']*(https?:)?//', sheet.read_text(encoding='utf-8')), sheet.name


@pytest.mark.parametrize(
    'name', ['layers', 'losses', 'models', 'zoo', 'classification', 'saliency', 'pointcloud', 'swap']
)
def test_every_public_name_is_documented(name, site, pages):
    anchors = set().union(*(page.anchors for path, page in pages.items() if path.parent.name == 'api'))
    package = importlib.import_module(f'rescaps_plugin.{name}')
    for public in package.__all__:
        member = getattr(package, public)
        if isinstance(member, ModuleType):
            own = [key for key, each in vars(member).items() if getattr(each, '__module__', '') == member.__name__]
            names = getattr(member, '__all__', [key for key in own if not key.startswith('_')])
            assert {f'{member.__name__}.{key}' for key in names} <= anchors
        else:
            homes = {f'{package.__name__}.{public}', f'rescaps_plugin.layers.{public}'}
            assert homes & anchors, f'{package.__name__}.{public}'


def test_every_model_and_family_has_a_page(site, pages, repository):
    for source in [*repository.glob('configs/*/README.md'), *repository.glob('rescaps_plugin/zoo/cards/*.md')]:
        assert site / source.relative_to(repository).with_suffix('.html') in pages
    table = (site / 'docs/zoo.html').read_text(encoding='utf-8')
    for card in repository.glob('rescaps_plugin/zoo/cards/*.md'):
        assert f'cards/{card.stem}.html' in table


def test_first_file_leads_to_the_first_page(site, pages):
    assert pages[site / 'index.html'].links == ['docs/index.html']
