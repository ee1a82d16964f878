"""Tables, and external names in them."""

import csv
import json

import pytest

from rescaps_plugin.cli.tables import recover, shorten, show, write_table

# How Python represents a file name of invalid UTF-8.
FOREIGN = b'caf\xe9.png'.decode('utf-8', 'surrogateescape')
NAMES = ['a.png', '图 1.png', FOREIGN, 'x\x1b[31m\n.png', 'a|b.png']


def rows(names):
    return [{'image': name, 'score': -0.5, 'count': 3} for name in names]


@pytest.mark.parametrize('suffix', ['csv', 'json', 'md'])
def test_special_names_do_not_break_tables(tmp_path, suffix):
    path = tmp_path / f'table.{suffix}'
    write_table(rows(NAMES), path)
    text = path.read_bytes().decode('utf-8')
    for name in ('a.png', '图 1.png', r'caf\xe9.png'):
        assert name in text.replace('\\\\', '\\')
    if suffix == 'csv':
        with path.open(newline='', encoding='utf-8') as file:
            read = list(csv.DictReader(file))
        assert [row['image'] for row in read] == ['a.png', '图 1.png', r'caf\xe9.png', *NAMES[3:]]
        assert {row['score'] for row in read} == {'-0.5'}
    elif suffix == 'json':
        assert [row['image'] for row in json.loads(text)] == ['a.png', '图 1.png', r'caf\xe9.png', *NAMES[3:]]
    else:
        assert len(text.splitlines()) == 2 + len(NAMES)


@pytest.mark.parametrize('start', ['=', '+', '-', '@', '\t', '\r'])
def test_cells_are_not_formulas(tmp_path, start):
    name = f"{start}cmd|'/c calc'!A1"
    write_table(rows([name, 'plain=1.png']), tmp_path / 'table.csv')
    with (tmp_path / 'table.csv').open(newline='', encoding='utf-8') as file:
        read = list(csv.DictReader(file))
    assert [row['image'] for row in read] == [f"'{name}", 'plain=1.png']
    # Numbers are unchanged, and other formats have no formulas.
    assert float(read[0]['score']) == -0.5
    write_table(rows([name]), tmp_path / 'table.json')
    assert json.loads((tmp_path / 'table.json').read_text())[0]['image'] == name


def test_printed_names_have_no_control_characters():
    assert show('图 1.png') == '图 1.png'
    assert show(FOREIGN) == r'caf\xe9.png'
    assert show('a\x1b]0;title\x07\n\u202egnp.exe') == r'a\x1b]0;title\x07\n\u202egnp.exe'
    assert show(7) == '7'


def test_names_of_another_locale_are_recovered():
    """With an ASCII locale, Python represents every byte of UTF-8 separately."""
    assert recover('图'.encode().decode('ascii', 'surrogateescape')) == '图'
    assert recover('\ud800') == r'\ud800'


def test_shorten():
    assert shorten('abcdef', 6) == 'abcdef' and shorten('abcdefg', 6) == 'abcde…'
