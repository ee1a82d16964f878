"""Parse ``--cfg-options KEY=VALUE``, with values in MMEngine's syntax or as Python literals."""

import ast
import re
from argparse import ArgumentError, ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

from mmengine.config import DictAction

# MMEngine's case-insensitive names of values.
_WORDS = {'true': True, 'false': False, 'inf': float('inf'), 'nan': float('nan')}


class OptionAction(DictAction):
    """Argparse action that collects ``KEY=VALUE ...`` in a dictionary.

    Values are Python literals: numbers, quoted strings, lists, tuples, dictionaries as ``{...}`` or ``dict(...)``, also
    nested, with unquoted words as strings. Other values are parsed as in MMEngine: ``1,2,3`` is a list, anything else a
    string. A number that is quoted, or has leading zeros, is a string.
    """

    def __call__(
        self,
        parser: ArgumentParser,
        namespace: Namespace,
        values: Sequence[str],
        option_string: str | None = None,
    ) -> None:
        """Parse the values and add them to those of earlier occurrences."""
        options = dict(getattr(namespace, self.dest, None) or {})
        for pair in values:
            key, equals, text = pair.partition('=')
            if not equals or not key:
                raise ArgumentError(self, f'{pair!r} is not KEY=VALUE; put a value with spaces in quotes')
            try:
                options[key] = parse_value(text)
            except ValueError as error:
                raise ArgumentError(self, f'{key}: {error}') from error
        setattr(namespace, self.dest, options)


def parse_value(text: str) -> Any:
    """Parse the value of an option.

    Args:
        text: Value on the command line.

    Returns:
        The parsed value.

    Raises:
        ValueError: Brackets or quotes are not closed, or a dictionary is malformed.

    Example:
        >>> parse_value("[dict(type='PackInputs')]")
        [{'type': 'PackInputs'}]
        >>> parse_value("['0901','1000']"), parse_value('0901'), parse_value('1,2')
        (['0901', '1000'], '0901', [1, 2])
    """
    stripped = text.strip()
    try:
        tree = ast.parse(stripped, mode='eval').body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        tree = None
    # A tuple without brackets is a list, as in MMEngine.
    bare = isinstance(tree, ast.Tuple) and not stripped.startswith('(')
    if tree is not None:
        try:
            value = _evaluate(tree)
        except ValueError:
            pass
        else:
            # Quotes around a whole list are left over from the shell.
            if isinstance(value, str) and isinstance(tree, ast.Constant) and value.startswith(('(', '[')):
                return parse_value(value)
            return list(value) if bare else value
    if re.search(r'\bdict\(|[{}]', stripped) and re.match(r'[\[({]|dict\(', stripped):
        raise ValueError(f"{text!r} cannot be read; dictionaries are written as in Python, such as dict(type='A', x=1)")
    return _parse_loosely(stripped)


def _evaluate(node: ast.expr) -> Any:
    """Evaluate an expression of literals, ``dict`` calls and unquoted words; raise ValueError for any other node."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (str, bool, int, float, type(None))):
        return node.value
    word = ast.unparse(node)
    if isinstance(node, (ast.Name, ast.Attribute)) and re.fullmatch(r'[\w.]+', word):
        return _WORDS.get(word.lower(), word)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.UAdd, ast.USub)):
        value = _evaluate(node.operand)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, (ast.List, ast.Tuple)):
        values = [_evaluate(element) for element in node.elts]
        return values if isinstance(node, ast.List) else tuple(values)
    if isinstance(node, ast.Dict) and None not in node.keys:
        return {_evaluate(key): _evaluate(value) for key, value in zip(node.keys, node.values, strict=True)}
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict' and not node.args:
        if all(keyword.arg for keyword in node.keywords):
            return {keyword.arg: _evaluate(keyword.value) for keyword in node.keywords}
    raise ValueError(word)


def _parse_loosely(text: str) -> Any:
    """Parse a value that is not a Python literal as MMEngine, except that quotes and leading zeros make strings."""
    for opening, closing in ('()', '[]'):
        if text.count(opening) != text.count(closing):
            if text.startswith(opening) or text.endswith(closing):
                raise ValueError(f'{text!r} has brackets that do not match')
            return text
    bracket = text[:1] + text[-1:] if len(text) > 1 else ''
    inner = text[1:-1] if bracket in ('()', '[]') else text
    parts = _split(inner)
    if bracket not in ('()', '[]') and len(parts) == 1:
        return _parse_word(text)
    values = [parse_value(part) for part in parts if part.strip()]
    return tuple(values) if bracket == '()' else values


def _split(text: str) -> list[str]:
    """Split at commas outside brackets and quotes."""
    parts, depth, quote = [''], 0, ''
    for letter in text:
        if quote:
            quote = '' if letter == quote else quote
        elif letter in '\'"':
            quote = letter
        else:
            depth += (letter in '([{') - (letter in ')]}')
        if letter == ',' and depth == 0 and not quote:
            parts.append('')
        else:
            parts[-1] += letter
    return parts


def _parse_word(text: str) -> Any:
    if re.fullmatch(r'0\d+', text):
        return text
    if len(text) > 1 and text[0] == text[-1] and text[0] in '\'"':
        return text[1:-1]
    return DictAction._parse_int_float_bool(text)
