"""Imports within the package: in one direction, without cycles."""

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / 'rescaps_plugin'
# A module may import those of its own folder and of folders with a lower number.
RANKS = {
    'layers': 0, 'losses': 0, 'compat': 0,
    'models': 1, 'cli': 1,
    'data': 2,
    'training': 3, 'export': 3,
    'classification': 4, 'saliency': 4, 'pointcloud': 4, 'swap': 4, 'engine': 4,
    'zoo': 5,
    'analysis': 6,
    'demo': 7,
}  # fmt: skip
# Folders that need only PyTorch and timm, which needs safetensors, and the packages that they may import.
BARE = {
    'layers': {'torch'},
    'losses': {'torch', 'pytorch3d'},
    'models': {'torch', 'timm', 'safetensors'},
}


def name_of(path: Path) -> str:
    """Return the dotted name of a module of the package."""
    parts = path.relative_to(PACKAGE.parent).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob('*.py')) if '.mim' not in path.parts}


def imports_of(path: Path) -> list[str]:
    """Return the modules that a file imports, at module level and inside functions."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}:{node.lineno} imports relatively'
            for alias in node.names:
                inner = f'{node.module}.{alias.name}'
                found.append(inner if inner in MODULES else node.module)
    return found


IMPORTS = {module: imports_of(path) for module, path in MODULES.items()}


def folder_of(module: str) -> str | None:
    """Return the folder of a module of the package; None for the package itself and for modules outside it."""
    package, _, rest = module.partition('.')
    return rest.partition('.')[0] or None if package == PACKAGE.name else None


def test_every_folder_has_a_rank():
    folders = {folder_of(module) for module in MODULES} - {None}
    assert folders <= RANKS.keys() | {'__main__'}


@pytest.mark.parametrize('module', [module for module in MODULES if folder_of(module) in RANKS])
def test_imports_point_downwards(module):
    own = folder_of(module)
    for imported in IMPORTS[module]:
        folder = folder_of(imported)
        assert folder in (None, own) or RANKS[folder] < RANKS[own], f'{module} imports {imported}'


def test_no_circles():
    # A package is imported before its modules, but they do not depend on the rest of its __init__.
    graph = {
        module: {imported for imported in imports if imported in MODULES and imported != module}
        for module, imports in IMPORTS.items()
    }
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize('module', [module for module in MODULES if folder_of(module) in BARE])
def test_arithmetic_needs_no_openmmlab(module):
    outside = {name.partition('.')[0] for name in IMPORTS[module]} - sys.stdlib_module_names - {PACKAGE.name}
    assert outside <= BARE[folder_of(module)], f'{module} imports {outside}'
