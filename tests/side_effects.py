"""Program of ``test_side_effects.py``: prints what the plugin and its tools change in other packages, as JSON.

python tests/side_effects.py FOLDER
"""

import importlib.util
import json
import pkgutil
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[1]
OTHERS = ('torch', 'timm', 'mmengine', 'mmcv', 'mmpretrain', 'mmseg')
# Packages with registries, or that the plugin might patch. Some can be imported only after the plugin.
BEFORE = (
    'timm', 'mmengine.runner', 'mmengine.hooks', 'mmengine.visualization', 'mmengine.evaluator', 'mmengine._strategy',
    'mmcv.cnn', 'mmcv.transforms', 'mmpretrain.apis', 'mmpretrain.datasets', 'mmpretrain.engine',
    'mmpretrain.evaluation', 'mmpretrain.models', 'mmpretrain.visualization', 'mmseg.registry',
)  # fmt: skip
AFTER = ('mmseg.apis', 'mmseg.datasets', 'mmseg.engine', 'mmseg.evaluation', 'mmseg.models', 'mmseg.visualization')
REGISTRIES = ('mmengine.registry', 'mmpretrain.registry', 'mmseg.registry')

Snapshot = dict[str, dict[Any, Any]]


def snapshot() -> Snapshot:
    """Return the attributes of the other packages' modules and classes, and the entries of dictionaries among them.

    A registry counts as a dictionary of what its names mean, those that it inherits too.
    """
    from mmengine.registry import Registry

    taken = {'sys.meta_path': dict(enumerate(sys.meta_path))}
    for name, module in list(sys.modules.items()):
        if name.partition('.')[0] not in OTHERS or not isinstance(module, ModuleType):
            continue
        holders = {name: vars(module)}
        for key, value in vars(module).items():
            if isinstance(value, type) and value.__module__ == name:
                holders[f'{name}.{key}'] = vars(value)
            elif isinstance(value, Registry) and name in REGISTRIES:
                holders[f'{name}.{key}'] = meanings(value)
        for place, attributes in list(holders.items()):
            for key, value in attributes.items():
                if isinstance(value, dict) and not str(key).startswith('__'):
                    holders[f'{place}.{key}'] = value
        taken |= {place: dict(attributes) for place, attributes in holders.items()}
    return taken


def meanings(registry) -> dict[str, Any]:
    """Return what each name resolves to in a registry: its own entries take precedence over its ancestors'."""
    inherited = {} if registry.parent is None else meanings(registry.parent)
    return inherited | dict(registry.module_dict)


def compare(before: Snapshot, after: Snapshot) -> dict[str, list[str]]:
    """Return the entries of a snapshot that changed or are missing in a later one, and the added ones."""
    changed, added = [], []
    for place, entries in before.items():
        now = after.get(place, {})
        changed += [f'{place}.{key}' for key, value in entries.items() if key not in now or now[key] is not value]
        added += [f'{place}.{key}' for key in now if key not in entries]
    return dict(changed=changed, added=added)


def run_tool(name: str, *arguments: str) -> None:
    spec = importlib.util.spec_from_file_location(name, ROOT / 'tools' / f'{name}.py')
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    tool.main(list(arguments))


def main(folder: str) -> None:
    steps = {}
    for name in BEFORE:
        import_module(name)
    before = snapshot()
    import rescaps_plugin

    steps['plugin'] = compare(before, snapshot())
    for name in AFTER:
        import_module(name)
    before = snapshot()
    for module in pkgutil.walk_packages(rescaps_plugin.__path__, 'rescaps_plugin.'):
        if '.mim' not in module.name:
            import_module(module.name)
    steps['modules'] = compare(before, snapshot())

    config, work_dir = str(ROOT / 'configs' / 'rescaps' / 'digits.py'), ('--work-dir', folder)
    small = [f'{phase}_dataloader.dataset.indices=16' for phase in ('train', 'val', 'test')]
    options = ('--cfg-options', *small, 'train_cfg.max_epochs=1', 'log_level=ERROR')
    before = snapshot()
    run_tool('train', config, *work_dir, *options)
    run_tool('test', config, f'{folder}/epoch_1.pth', *work_dir, *options)
    steps['runs'] = compare(before, snapshot())
    print(json.dumps(steps))


if __name__ == '__main__':
    main(*sys.argv[1:])
