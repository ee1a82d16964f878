"""Tables that tools write, and names from outside in what they print and draw."""

import csv
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Halves of characters, by which Python stands for bytes of a name that it cannot decode.
SURROGATES = re.compile('[\ud800-\udfff]')
# What makes a spreadsheet take a cell for a formula, which may start programs or send other cells away.
FORMULAS = ('=', '+', '-', '@', '\t', '\r')


def write_table(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write rows as a table, and say so.

    Tables are UTF-8 whatever the locale; see :func:`recover`. In CSV, texts that a spreadsheet would take for a
    formula, by a first ``=``, ``+``, ``-`` or ``@``, get an apostrophe before it.

    Args:
        rows: At least one; the first has every column.
        path: File to write: ``.csv``, ``.json``, or ``.md`` for Markdown, whose numbers have four digits.
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
    r"""Return a file's name as Unicode whatever encoding the locale says that names have.

    Python keeps bytes that are not of that encoding as lone surrogates, which no file or terminal takes. Those that are
    UTF-8 become what they mean, others escapes such as ``\xff``.
    """
    if not SURROGATES.search(name):
        return name
    try:
        return os.fsencode(name).decode('utf-8', 'backslashreplace')
    except UnicodeEncodeError:  # it is not of this locale
        return name.encode('utf-8', 'backslashreplace').decode()


def show(text: object) -> str:
    r"""Return a name or other text from outside as it may be printed.

    Control characters, of which a terminal would take some for commands, become escapes such as ``\x1b``; see also
    :func:`recover`.
    """
    return ''.join(
        letter if letter.isprintable() else letter.encode('unicode_escape').decode() for letter in recover(str(text))
    )


def shorten(text: str, length: int) -> str:
    """Return a text of at most ``length`` letters."""
    return text if len(text) <= length else f'{text[: length - 1]}…'


def quote_formula(value: Any) -> Any:
    """Put an apostrophe before a text that a spreadsheet would take for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULAS) else value


def _text(value: Any) -> str:
    return f'{value:.4f}' if isinstance(value, float) else show(value).replace('|', '\\|')
