"""Configuration of the site, which ``sphinx-build -nW --keep-going -c docs . build/site`` builds.

Its source is the repository: the pages of the families and the cards of the models are pages of the site where they
are, so that each text exists once and its links work on GitHub too.
"""

import sys
from pathlib import Path

from docutils.nodes import SkipNode, math
from docutils.utils.math.latex2mathml import tex2mathml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from rescaps_plugin import __version__  # noqa: E402
from rescaps_plugin.zoo.cards import format_table  # noqa: E402

project = 'rescaps'
release = version = __version__

root_doc = 'docs/index'
include_patterns = [
    'docs/**',
    'configs/*/README.md',
    'rescaps_plugin/zoo/cards/*.md',
    'CHANGELOG.md',
    'CONTRIBUTING.md',
    'SECURITY.md',
]
# Folders without pages, which are not searched for any.
exclude_patterns = ['.*', 'build', 'data', 'dist', 'tests', 'venv', 'work_dirs']
extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon']

myst_enable_extensions = ['dollarmath', 'substitution']
myst_heading_anchors = 3
myst_substitutions = dict(zoo_table=format_table('../rescaps_plugin/zoo/cards'))

# Types of other projects, whose pages are not here, and type variables.
nitpick_ignore_regex = [
    (r'py:.*', r'(PIL|collections|mm\w+|nn|numpy|os|pathlib|sklearn|torch|torchvision)\..*|Config|Image'),
    (r'py:class', r'rescaps_plugin\.export\.predictor\.(Input|Result)'),
]

autodoc_inherit_docstrings = False
autodoc_member_order = 'bysource'
autodoc_typehints = 'description'
autodoc_typehints_description_target = 'documented'
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_math_renderer = 'mathml'
html_theme = 'furo'
html_title = 'rescaps'
html_static_path = ['static']
html_css_files = ['site.css']
html_additional_pages = {'index': 'redirect.html'}
templates_path = ['templates']
html_copy_source = False
html_show_copyright = False


def visit_math(translator, node):
    """Write a formula as MathML, which browsers draw without scripts and fonts from the net."""
    inline = isinstance(node, math)
    formula = tex2mathml(node.astext(), as_block=not inline)
    translator.body.append(formula if inline else f'<div class="formula">{formula}</div>')
    raise SkipNode


def setup(app):
    """Register the renderer of formulas."""
    app.add_html_math_renderer('mathml', inline_renderers=(visit_math, None), block_renderers=(visit_math, None))
