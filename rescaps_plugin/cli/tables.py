"""Write tables, and sanitise external names for printing and plotting."""

import csv
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Lone surrogates, by which Python represents bytes of a name that it cannot decode.
SURROGATES = re.compile('[\ud800-\udfff]')
# Prefixes that make a spreadsheet evaluate a cell as a formula, which can start programs or leak other cells.
FORMULAS = ('=', '+', '-', '@', '\t', '\r')


def write_table(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write rows as a table and print its path.

    Tables are UTF-8 in every locale; see :func:`recover`. In CSV, texts that a spreadsheet would evaluate as a formula,
    because they begin with ``=``, ``+``, ``-`` or ``@``, are prefixed with an apostrophe.

    Args:
        rows: At least one row; the first has every column.
        path: File to write: ``.csv``, ``.json``, or ``.md`` for Markdown, with four decimals.
    """
    rows = [{key: recover(value) if isinstance(value, str) else value for key, value in row.items()} for row in rows]
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
            writer.writerows({key: quote_formula(value) for key, value in row.items()} for row in rows)
    print(f'wrote {path}')


def recover(name: str) -> str:
    r"""Convert a file name to valid Unicode, independent of the locale's encoding.

    Python represents bytes outside that encoding by lone surrogates, which cannot be written or printed. Bytes of valid
    UTF-8 are decoded, others become escapes such as ``\xff``.
    """
    if not SURROGATES.search(name):
        return name
    try:
        return os.fsencode(name).decode('utf-8', 'backslashreplace')
    except UnicodeEncodeError:  # the name comes from another locale
        return name.encode('utf-8', 'backslashreplace').decode()


def show(text: object) -> str:
    r"""Return a printable form of a name or other external text.

    Control characters, which a terminal could interpret as commands, become escapes such as ``\x1b``; see also
    :func:`recover`.
    """
    return ''.join(
        letter if letter.isprintable() else letter.encode('unicode_escape').decode() for letter in recover(str(text))
    )


def shorten(text: str, length: int) -> str:
    """Truncate a text to at most ``length`` characters."""
    return text if len(text) <= length else f'{text[: length - 1]}…'


def quote_formula(value: Any) -> Any:
    """Prefix a text that a spreadsheet would evaluate as a formula with an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULAS) else value


def _text(value: Any) -> str:
    return f'{value:.4f}' if isinstance(value, float) else show(value).replace('|', '\\|')
