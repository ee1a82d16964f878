"""Tables that tools write."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def write_table(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write rows as a table, and say so.

    Args:
        rows: At least one; the first has every column.
        path: File to write: ``.csv``, ``.json``, or ``.md`` for Markdown, whose numbers have four digits.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('w', newline='', encoding='utf-8') as file:
        if path.suffix == '.json':
            json.dump(rows, file, indent=2, ensure_ascii=False)
        elif path.suffix == '.md':
            lines = [list(rows[0]), ['---'] * len(rows[0]), *([_text(row[key]) for key in rows[0]] for row in rows)]
            file.writelines(f'| {" | ".join(line)} |\n' for line in lines)
        else:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    print(f'wrote {path}')


def _text(value: Any) -> str:
    return f'{value:.4f}' if isinstance(value, float) else str(value).replace('|', '\\|')
