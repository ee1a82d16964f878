"""Names of configs, which name work directories."""

from collections import Counter
from pathlib import Path


def test_no_two_configs_share_a_work_directory():
    configs = Path(__file__).parents[2] / 'configs'
    names = Counter(path.stem for path in configs.glob('*/*.py') if path.parent.name != '_base_')
    assert names['digits'] == 1
    assert [name for name, count in names.items() if count > 1] == []
