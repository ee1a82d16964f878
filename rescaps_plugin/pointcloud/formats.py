"""Readers of the geometry in mesh and cloud formats, checked against the counts of the file headers.

Each takes the bytes of a file and returns vertices ``[n, 3]`` and, for a mesh, triangles ``[m, 3]``, or raises
ValueError with the fault. Larger polygons are divided into triangle fans. Truncated files, and files with more data
than their header declares, are errors. External files (materials, textures, buffers) are never opened. Memory is
limited by the size of the file, or by :data:`MAX_ELEMENTS` in formats where a few bytes can encode many points.
"""

from __future__ import annotations

import io
import json
import math
import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

# Maximum number of vertices, faces or lines of a file: 400 MB of coordinates.
MAX_ELEMENTS = 2**24
# Columns of an array of points: coordinates, normals, colours. An array with more is most likely not a cloud.
MAX_COLUMNS = 12
# Names of the points in an .npz file of several arrays, in order of preference.
ARRAY_NAMES = ('points', 'xyz', 'pos', 'vertices', 'pc', 'data')

Shape = tuple[np.ndarray, np.ndarray | None]


def read_off(content: bytes) -> Shape:
    """Read text OFF, including comments, blank lines, counts on the header line, colours, normals and CRLF.

    Source: Geomview's manual, *OFF Files*. ``4OFF``, ``nOFF`` and binary files are not supported.
    """
    lines = _lines(content, '#')
    if not lines:
        raise ValueError('it is empty')
    header = re.fullmatch(r'(?:(?:ST)?C?N?OFF)?(.*)', lines[0], re.IGNORECASE | re.DOTALL)[1].strip()
    if header.upper().startswith('BINARY'):
        raise ValueError('binary OFF files are not read')
    place = 1
    if not header and len(lines) > 1:
        header, place = lines[1], 2
    counts = _integers(header.split(), f'expected OFF and its counts of vertices and faces, found {header[:40]!r}')
    if len(counts) not in (2, 3):
        raise ValueError(f'expected two or three counts, found {header[:40]!r}')
    vertices, faces = (_check_count(count, name) for count, name in zip(counts[:2], ('vertices', 'faces'), strict=True))
    if len(lines) - place != vertices + faces:
        raise ValueError(
            f'its header declares {vertices} vertices and {faces} faces, which are as many lines; it has '
            f'{len(lines) - place}'
        )
    corners = lines[place + vertices :]
    return _coordinates(lines[place : place + vertices]), _fans(_read_polygons(corners))


def _read_polygons(lines: Sequence[str]) -> np.ndarray | list[list[int]]:
    """Read lines of corner count, corner indices and colours; files of only triangles take the fast path."""
    if lines and (_table(lines, np.int64, (0,)) == 3).all():
        return _table(lines, np.int64, (1, 2, 3))
    polygons = []
    for number, line in enumerate(lines):
        size, *corners = line.split()
        size = _integers([size], f'face {number}: expected a number of corners, found {size[:20]!r}')[0]
        if not 0 < size <= len(corners):
            raise ValueError(f'face {number}: {size} corners were declared, found {len(corners)} numbers')
        polygons.append(_integers(corners[:size], f'face {number}: a corner is not a number'))
    return polygons


def read_obj(content: bytes) -> Shape:
    """Read vertices and faces of Wavefront OBJ text; negative indices count back from the last vertex."""
    vertices, polygons = [], []
    for number, line in enumerate(_lines(content.replace(b'\\\r\n', b' ').replace(b'\\\n', b' '), '#', drop=False), 1):
        kind, *values = line.split() or ['']
        if kind == 'v':
            if len(values) < 3:
                raise ValueError(f'line {number}: a vertex needs three coordinates, found {line[:40]!r}')
            vertices.append(line[1:])
        elif kind == 'f':
            corners = _integers(
                [value.split('/', 1)[0] for value in values], f'line {number}: invalid face {line[:40]!r}'
            )
            if len(corners) < 3:
                raise ValueError(f'line {number}: a face needs three corners, found {line[:40]!r}')
            # Vertices are counted from 1: index 0 is that of none.
            corners = [corner - 1 if corner >= 0 else len(vertices) + corner for corner in corners]
            wrong = [value for value, corner in zip(values, corners, strict=True) if corner < 0]
            if wrong:
                raise ValueError(f'line {number}: face: no vertex {wrong[0]}')
            polygons.append(corners)
    return _coordinates(vertices), _fans(polygons) if polygons else None


def read_stl(content: bytes) -> Shape:
    """Read binary STL, recognised by its length, or text STL."""
    record = np.dtype([('normal', '<f4', 3), ('corners', '<f4', (3, 3)), ('attributes', '<u2')])
    count = int.from_bytes(content[80:84], 'little') if len(content) >= 84 else 0
    if len(content) >= 84 and len(content) == 84 + count * record.itemsize:
        corners = np.frombuffer(content, record, offset=84)['corners'].astype(np.float64)
    elif content.lstrip()[:5].lower() == b'solid' and b'\0' not in content:
        corners = _read_stl_text(content)
    else:
        raise ValueError(
            f'its header declares {count} triangles, {84 + count * record.itemsize} bytes; it has {len(content)}'
        )
    return corners.reshape(-1, 3), np.arange(3 * len(corners)).reshape(-1, 3)


def _read_stl_text(content: bytes) -> np.ndarray:
    corners, counts = [], dict.fromkeys(('solid', 'facet', 'vertex', 'endfacet', 'endsolid'), 0)
    for line in _lines(content):
        kind, *rest = line.split(None, 1)
        kind = kind.lower()
        if kind in counts:
            counts[kind] += 1
        if kind == 'vertex':
            corners += rest
    if counts['solid'] != counts['endsolid'] or not counts['vertex'] == 3 * counts['facet'] == 3 * counts['endfacet']:
        raise ValueError(f'expected facets of three vertices within solids, found {counts}')
    return _coordinates(corners).reshape(-1, 3, 3)


@dataclass
class _Element:
    """Element of a PLY file: name, count, and property types by name.

    ``lists`` has the type of the length field of list properties.
    """

    name: str
    count: int
    types: dict[str, np.dtype] = field(default_factory=dict)
    lists: dict[str, np.dtype] = field(default_factory=dict)


PLY_TYPES = {
    **{name: name for name in ('int8', 'uint8', 'int16', 'uint16', 'int32', 'uint32', 'float32', 'float64')},
    **{'char': 'int8', 'uchar': 'uint8', 'short': 'int16', 'ushort': 'uint16', 'int': 'int32', 'uint': 'uint32'},
    **{'float': 'float32', 'double': 'float64', 'int64': 'int64', 'uint64': 'uint64', 'float16': 'float16'},
}
PLY_ORDERS = {'ascii': '', 'binary_little_endian': '<', 'binary_big_endian': '>'}


def read_ply(content: bytes) -> Shape:
    """Read PLY, text or binary. Source: Turk, *The PLY Polygon File Format*, 1994."""
    kind, elements, body = _read_ply_header(content)
    names = [element.name for element in elements]
    if len(set(names)) < len(names) or 'vertex' not in names:
        raise ValueError(f'expected elements of different names, one of them vertex, found {names}')
    if 'tristrips' in names:
        raise ValueError('strips of triangles (element tristrips) are not read')
    if kind == 'ascii':
        read = _read_ply_text(elements, body)
    else:
        read = _read_ply_binary(elements, body, PLY_ORDERS[kind])
    values = dict(zip(names, read, strict=True))
    vertex = values['vertex']
    lacking = [axis for axis in 'xyz' if not isinstance(vertex.get(axis), np.ndarray)]
    if lacking:
        raise ValueError(f'element vertex has no property {lacking[0]}')
    points = np.stack([vertex[axis].astype(np.float64) for axis in 'xyz'], axis=1)
    faces = next((element for element in elements if element.name == 'face' and element.count), None)
    if faces is None:
        return points, None
    known = [name for name in ('vertex_indices', 'vertex_index') if name in faces.lists] or list(faces.lists)
    if not known:
        raise ValueError('element face has no list of vertices')
    return points, _fans(values['face'][known[0]])


def _read_ply_header(content: bytes) -> tuple[str, list[_Element], bytes]:
    """Return the format of the body, the elements in order, and the body."""
    found = re.match(rb'ply[ \t]*(\r\n|\r|\n)', content)
    if found is None:
        raise ValueError('it does not begin with a line ply')
    header, ending, body = content.partition(found[1] + b'end_header' + found[1])
    if not ending:
        header, ending, body = content.rstrip().partition(found[1] + b'end_header')
        if not ending or body:
            raise ValueError('its header has no end (end_header)')
    kind, elements = None, []
    for line in header.decode('latin-1').split(found[1].decode())[1:]:
        words = line.split()
        if not words or words[0] in ('comment', 'obj_info'):
            continue
        types = [PLY_TYPES.get(word) for word in words[1:-1] if word != 'list']
        if words[0] == 'format' and len(words) == 3 and words[1] in PLY_ORDERS and kind is None:
            kind = words[1]
        elif words[0] == 'element' and len(words) == 3:
            count = _integers(words[2:], f'element {words[1]}: invalid count {words[2][:20]!r}')[0]
            elements.append(_Element(words[1], _check_count(count, f'element {words[1]}')))
        elif words[0] == 'property' and elements and None not in types and words[-1] not in elements[-1].types:
            element, name = elements[-1], words[-1]
            if len(words) == 5 and words[1] == 'list' and len(types) == 2 and 'int' in types[0]:
                element.lists[name] = np.dtype(types[0])
            elif len(words) != 3 or len(types) != 1:
                raise ValueError(f'header: {line[:60]!r} is not a property')
            element.types[name] = np.dtype(types[-1])
        else:
            raise ValueError(f'header: {line[:60]!r} is not of this format')
    if kind is None:
        raise ValueError(f'header: no line format of {", ".join(PLY_ORDERS)}')
    return kind, elements, body


def _read_ply_text(elements: Sequence[_Element], body: bytes) -> Iterator[dict[str, np.ndarray | list]]:
    lines, place = _lines(body), 0
    expected = sum(element.count for element in elements if element.types)
    if len(lines) != expected:
        counts = ' and '.join(f'{element.count} of {element.name}' for element in elements)
        raise ValueError(f'its header declares {counts}, which are {expected} lines; it has {len(lines)}')
    for element in elements:
        rows = lines[place : place + element.count] if element.types else []
        place += len(rows)
        if not element.lists:
            columns = _table(rows) if rows else np.empty((0, len(element.types)))
            if columns.shape[1] != len(element.types):
                raise ValueError(f'{element.name}: expected {len(element.types)} numbers, found {columns.shape[1]}')
            yield dict(zip(element.types, columns.T, strict=True))
            continue
        values = {name: [] for name in element.types}
        for number, line in enumerate(rows):
            row, start = line.split(), 0
            for name in element.types:
                size = 1
                if name in element.lists:
                    size = _integers(row[start : start + 1], f'{element.name} {number}: no length of {name}')
                    size, start = size[0] if size else -1, start + 1
                if not 0 <= size <= len(row) - start:
                    raise ValueError(f'{element.name} {number}: {name} ends early or has no length')
                found = row[start : start + size]
                what = f'{element.name} {number}: {name} is not a number'
                values[name].append(_integers(found, what) if name in element.lists else found[0])
                start += size
            if start != len(row):
                raise ValueError(f'{element.name} {number}: expected {start} numbers, found {len(row)}')
        yield {name: found if name in element.lists else np.array(found, np.float64) for name, found in values.items()}


def _read_ply_binary(elements: Sequence[_Element], body: bytes, order: str) -> Iterator[dict[str, np.ndarray | list]]:
    place = 0
    for element in elements:
        if not element.count:
            yield {name: np.empty(0) for name in element.types}
            continue
        names = list(element.types)
        types = {name: kind.newbyteorder(order) for name, kind in element.types.items()}
        lengths = {name: kind.newbyteorder(order) for name, kind in element.lists.items()}

        def take(kind: np.dtype, count: int, place: int, name: str = element.name) -> np.ndarray:
            if count < 0 or count * kind.itemsize > len(body) - place:
                raise ValueError(f'it ends early, in the element {name}, or a list of it has no length')
            return np.frombuffer(body, kind, count, place)

        # Fast path: usually all lists have the lengths of the first row.
        parts, start = [], place
        for name in names:
            size = 1
            if name in lengths:
                size = int(take(lengths[name], 1, start)[0])
                parts.append((f'length {name}', lengths[name]))
                start += lengths[name].itemsize
            start += take(types[name], size, start).nbytes
            parts.append((f'value {name}', types[name], (size,)) if name in lengths else (f'value {name}', types[name]))
        row = np.dtype(parts)
        rows = np.frombuffer(body, row, min(element.count, (len(body) - place) // max(row.itemsize, 1)), place)
        if len(rows) == element.count and all(
            (rows[f'length {n}'] == rows[f'value {n}'].shape[1]).all() for n in lengths
        ):
            place += rows.nbytes
            yield {name: rows[f'value {name}'] for name in names}
            continue

        values = {name: [] for name in names}
        for _ in range(element.count):
            for name in names:
                size = 1
                if name in lengths:
                    size = int(take(lengths[name], 1, place)[0])
                    place += lengths[name].itemsize
                found = take(types[name], size, place)
                place += found.nbytes
                values[name].append(found.tolist() if name in lengths else found[0])
        yield {name: found if name in lengths else np.array(found) for name, found in values.items()}
    if body[place:].strip():
        raise ValueError(f'{len(body) - place} bytes follow what its header declares')


def read_pcd(content: bytes) -> Shape:
    """Read text or binary PCD, without missing measurements (points that are NaN on all axes).

    Source: *The PCD file format* of the Point Cloud Library. Compressed files are not supported.
    """
    header, place = {}, 0
    while 'DATA' not in header:
        end = content.find(b'\n', place)
        if end < 0 or place > 10_000:
            raise ValueError('its header has no line DATA')
        words = content[place:end].decode('latin-1').split('#')[0].split()
        place = end + 1
        if words:
            header[words[0].upper()] = words[1:]
    names, kind = header.get('FIELDS', []), (header['DATA'] or [''])[0].lower()
    if kind not in ('ascii', 'binary'):
        raise ValueError(
            f'DATA must be ascii or binary, it is {kind!r}; convert it, such as by pcl_convert_pcd_ascii_binary'
        )
    count = _integers(header.get('POINTS') or header.get('WIDTH') or [], 'POINTS is not a number')
    sizes = _integers(header.get('SIZE', []), 'SIZE has no numbers')
    repeats = _integers(header.get('COUNT', ['1'] * len(names)), 'COUNT has no numbers')
    types = header.get('TYPE', [])
    if len(count) != 1 or not len(names) == len(sizes) == len(repeats) == len(types) or not {*'xyz'} <= {*names}:
        raise ValueError('expected a number of POINTS, and FIELDS, among them x, y and z, with SIZE, TYPE and COUNT')
    count = _check_count(count[0], 'points')
    if not all(0 < repeat <= 10_000 for repeat in repeats):
        raise ValueError(f'COUNT must be positive, it is {repeats}')
    columns = [sum(repeats[: names.index(axis)]) for axis in 'xyz']
    if kind == 'ascii':
        lines = _lines(content[place:])
        rows = _table(lines) if lines else np.empty((0, sum(repeats)))
        if rows.shape != (count, sum(repeats)):
            raise ValueError(f'expected {count} lines of {sum(repeats)} numbers, found {list(rows.shape)}')
        points = rows[:, columns]
    else:
        try:
            row = np.dtype(
                [
                    (str(index), f'<{dict(F="f", I="i", U="u")[letter]}{size}', (repeat,))
                    for index, (letter, size, repeat) in enumerate(zip(types, sizes, repeats, strict=True))
                ]
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f'TYPE and SIZE must be F, I or U of 1 to 8 bytes, found {types} and {sizes}') from error
        if len(content) - place < count * row.itemsize:
            raise ValueError(f'expected {count} points of {row.itemsize} bytes, found {len(content) - place} bytes')
        rows = np.frombuffer(content, row, count, place)
        points = np.stack([rows[str(names.index(axis))][:, 0].astype(np.float64) for axis in 'xyz'], axis=1)
    return points[~np.isnan(points).all(axis=1)], None


GLTF_NUMBERS = {5120: 'i1', 5121: 'u1', 5122: '<i2', 5123: '<u2', 5125: '<u4', 5126: '<f4'}
GLTF_COMPRESSIONS = ('KHR_draco_mesh_compression', 'EXT_meshopt_compression', 'KHR_meshopt_compression')
POINTS, TRIANGLES, STRIP, FAN = 0, 4, 5, 6


def read_glb(content: bytes) -> Shape:
    """Read the triangles of a binary glTF 2.0 scene, with node transforms applied, or its points if it has none.

    Source: Khronos, *glTF 2.0 Specification*. External buffers and compressed or sparse geometry are not supported.
    """
    magic, version, length = content[:4], *np.frombuffer(content[4:12].ljust(8, b'\0'), '<u4').tolist()
    if magic != b'glTF' or version != 2:
        raise ValueError('it is not binary glTF 2.0')
    if length != len(content):
        raise ValueError(f'its header declares {length} bytes, it has {len(content)}')
    chunks, place = {}, 12
    while place < length:
        size, kind = int.from_bytes(content[place : place + 4], 'little'), content[place + 4 : place + 8]
        if place + 8 + size > length:
            raise ValueError(f'a part of {size} bytes goes beyond its end')
        chunks.setdefault(kind, memoryview(content)[place + 8 : place + 8 + size])
        place += 8 + size
    tree = json.loads(bytes(chunks.get(b'JSON', b'')))
    return _GLBScene(tree, chunks.get(b'BIN\0', memoryview(b''))).read()


class _GLBScene:
    """Geometry of a binary glTF scene.

    Args:
        tree: JSON chunk.
        data: Binary chunk.
    """

    def __init__(self, tree: dict, data: memoryview) -> None:
        self.tree, self.data = tree, data
        self.read_elements = 0
        self.triangles, self.points = [], []

    def read(self) -> Shape:
        """Read the geometry of all nodes of the scene's tree."""
        nodes = self.tree.get('nodes', [])
        if 'scenes' in self.tree:
            roots = self.tree['scenes'][self.tree.get('scene', 0)].get('nodes', [])
        else:
            roots = [*{*range(len(nodes))}.difference(*(node.get('children', []) for node in nodes))]
        waiting, seen = [(root, np.eye(4)) for root in roots], set()
        while waiting:
            number, placement = waiting.pop()
            if number in seen or number < 0:
                raise ValueError(f'node {number} is in the scene twice, or has an invalid number')
            seen.add(number)
            node = nodes[number]
            placement = placement @ _place_node(node)
            waiting += [(child, placement) for child in node.get('children', [])]
            for primitive in self.tree['meshes'][node['mesh']]['primitives'] if 'mesh' in node else ():
                self._read_primitive(primitive, placement)
        if not self.triangles:
            return np.concatenate([np.empty((0, 3)), *self.points]), None
        corners = np.concatenate(self.triangles)
        return corners.reshape(-1, 3), np.arange(3 * len(corners)).reshape(-1, 3)

    def _read_primitive(self, primitive: dict, placement: np.ndarray) -> None:
        mode = primitive.get('mode', TRIANGLES)
        if mode not in (POINTS, TRIANGLES, STRIP, FAN):  # lines
            return
        packed = [name for name in GLTF_COMPRESSIONS if name in primitive.get('extensions', {})]
        if packed:
            raise ValueError(f'compressed geometry ({packed[0]}) is not read')
        vertices = self._read_accessor(primitive['attributes']['POSITION'], 'VEC3')
        vertices = vertices @ placement[:3, :3].T + placement[:3, 3]
        if mode == POINTS:
            self.points.append(vertices)
            return
        corners = np.arange(len(vertices))
        if 'indices' in primitive:
            corners = self._read_accessor(primitive['indices'], 'SCALAR').astype(np.int64)
        if corners.size and corners.max() >= len(vertices):
            raise ValueError(f'faces: vertex {corners.max()} of {len(vertices)} vertices, counted from 0')
        if mode == TRIANGLES:
            if len(corners) % 3:
                raise ValueError(f'triangles of {len(corners)} corners')
            corners = corners.reshape(-1, 3)
        elif mode == STRIP:
            corners = np.stack([corners[:-2], corners[1:-1], corners[2:]], axis=1)
        else:
            corners = np.stack([corners[:1].repeat(max(len(corners) - 2, 0)), corners[1:-1], corners[2:]], axis=1)
        self.triangles.append(vertices[corners])

    def _read_accessor(self, number: int, kind: str) -> np.ndarray:
        accessor = self.tree['accessors'][number]
        if accessor['type'] != kind or 'sparse' in accessor or 'bufferView' not in accessor:
            raise ValueError(f'accessor {number}: expected a plain array of {kind}')
        view = self.tree['bufferViews'][accessor['bufferView']]
        if view.get('buffer') != 0 or 'uri' in self.tree['buffers'][0] or view.get('extensions'):
            raise ValueError('geometry in other files, or compressed, is not read')
        dtype, width = np.dtype(GLTF_NUMBERS[accessor['componentType']]), 3 if kind == 'VEC3' else 1
        # The total is limited too: an accessor can be used any number of times.
        self.read_elements += _check_count(accessor['count'], f'accessor {number}')
        _check_count(self.read_elements, 'vertices and corners of the scene')
        start, stride = view.get('byteOffset', 0) + accessor.get('byteOffset', 0), view.get('byteStride')
        stride = stride or width * dtype.itemsize
        end = start + (accessor['count'] - 1) * stride + width * dtype.itemsize
        if not accessor['count']:
            return np.empty((0, 3) if width == 3 else 0)
        if start < 0 or stride < width * dtype.itemsize or end > len(self.data):
            raise ValueError(f'accessor {number} goes beyond the end of its buffer')
        values = np.ndarray((accessor['count'], width), dtype, self.data, start, (stride, dtype.itemsize))
        if width == 1:
            return values[:, 0]
        scale = np.iinfo(dtype).max if accessor.get('normalized') and dtype.kind in 'iu' else 1
        return values.astype(np.float64) / scale


def _place_node(node: dict) -> np.ndarray:
    """Return the transform ``[4, 4]`` of a glTF node to its parent."""
    if 'matrix' in node:
        return np.array(node['matrix'], np.float64).reshape(4, 4).T
    x, y, z, w = node.get('rotation', (0, 0, 0, 1))
    placement = np.eye(4)
    placement[:3, :3] = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    ) * np.array(node.get('scale', (1, 1, 1)))
    placement[:3, 3] = node.get('translation', (0, 0, 0))
    return placement


def read_table(content: bytes) -> Shape:
    """Read a text table with three coordinate columns: ``.xyz``, ``.txt``, ``.csv``, ``.pts``, ``.asc``.

    Columns are separated by semicolons, commas or whitespace; with semicolons, a comma may be the decimal separator.
    Lines that begin with ``#`` or ``//`` are comments. If the first line or a comment names the columns, a comment all
    of them, coordinates are the columns ``x``, ``y`` and ``z``, else the first three. A first line of one number is
    the number of rows.
    """
    lines = _lines(content, drop=False)
    comments = [line.lstrip('#/ ') for line in lines if line.startswith(('#', '//'))]
    lines = [line for line in lines if line and not line.startswith(('#', '//'))]
    header = None
    if lines and not NUMBER.match(lines[0]):
        header, lines = lines[0], lines[1:]
        if _find_axes(header, _divide(header)) is None:
            raise ValueError(f'expected numbers, or names of columns with x, y and z, found {header[:60]!r}')
    count = None
    if lines and re.fullmatch(r'\d+', lines[0]) and (len(lines) == 1 or not re.fullmatch(r'\d+', lines[1])):
        count, lines = int(lines[0]), lines[1:]
    if count is not None and count != len(lines):
        raise ValueError(f'its first line declares {count} points, it has {len(lines)}')
    if not lines:
        return np.empty((0, 3)), None
    divider = _divide(lines[0])
    rows = [line.rstrip(divider) if divider else line for line in lines]
    widths = {row.count(divider) + 1 if divider else len(row.split()) for row in rows}
    if len(widths) > 1 or min(widths) < 3:
        raise ValueError(f'expected rows of three or more columns, as many in each, found {sorted(widths)[:9]}')
    if divider == ';':
        rows = [row.replace(',', '.') for row in rows]
    width = max(widths)
    headers = [header] if header is not None else [each for each in comments if len(_names(each, divider)) == width]
    found = [axes for each in headers if (axes := _find_axes(each, divider)) is not None and max(axes) < width]
    axes = found[0] if found else (0, 1, 2)
    return np.loadtxt(rows, delimiter=divider, comments=None, usecols=axes, ndmin=2, quotechar='"'), None


NUMBER = re.compile(r'"?[-+]?(\d|[.,]\d|nan\b|inf)', re.IGNORECASE)


def _divide(line: str) -> str | None:
    """Return the column separator of a line; None means whitespace."""
    return next((divider for divider in ';,' if divider in line), None)


def _names(header: str, divider: str | None) -> list[str]:
    return [name.strip().strip('"').lower() for name in header.split(divider)]


def _find_axes(header: str, divider: str | None) -> tuple[int, int, int] | None:
    """Return the indices of the columns named x, y and z."""
    names = _names(header, divider)
    return tuple(names.index(axis) for axis in 'xyz') if {*'xyz'} <= {*names} else None


def is_table(start: bytes) -> bool:
    """Return whether a text file, by its first bytes, can be read by :func:`read_table`."""
    lines = [line for line in _lines(start.rpartition(b'\n')[0] or start) if not line.startswith(('#', '//'))]
    row = lines[1:3][-1:] or lines[:1]
    return bool(row) and len([word for word in re.split(r'[;,\s]+', row[0]) if NUMBER.match(word)]) >= 3


def read_npy(content: bytes) -> Shape:
    """Read an array of points."""
    return _read_array(content, 'points'), None


def read_npz(content: bytes) -> Shape:
    """Read the array of points of an archive: the first found of :data:`ARRAY_NAMES`, or the only array."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        sizes = {info.filename.removesuffix('.npy'): info.file_size for info in archive.infolist()}
        name = next((name for name in (*ARRAY_NAMES, *sizes) if name in sizes), None)
        if name is None or (name not in ARRAY_NAMES and len(sizes) > 1):
            raise ValueError(f'expected one array, or one named {", ".join(ARRAY_NAMES)}, found {list(sizes)[:9]}')
        if sizes[name] > MAX_ELEMENTS * MAX_COLUMNS * 8:
            raise ValueError(f'{name} would unpack to {sizes[name]} bytes')
        return _read_array(archive.read(f'{name}.npy'), name), None


def _read_array(content: bytes, name: str) -> np.ndarray:
    """Read the first three columns of a real-valued array in NumPy's format."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f'expected version 1.0 or 2.0 of the format, found {version}')
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, columns_first, dtype = read_header(stream)
    if dtype.kind not in 'iuf':
        raise ValueError(f'{name} must be real numbers, found {dtype}')
    if len(shape) != 2 or not 3 <= shape[1] <= MAX_COLUMNS:
        raise ValueError(f'{name} must be [n, 3], found {list(shape)}; of up to {MAX_COLUMNS} columns three are read')
    size = math.prod(shape) * dtype.itemsize
    if size != len(content) - stream.tell():
        raise ValueError(f'its header declares {size} bytes of {name}, it has {len(content) - stream.tell()}')
    points = np.frombuffer(content, dtype, offset=stream.tell()) if size else np.empty(0)
    return points.reshape(shape, order='F' if columns_first else 'C')[:, :3].astype(np.float64)


def _lines(content: bytes, comment: str | None = None, drop: bool = True) -> list[str]:
    """Split text into lines without comments and surrounding whitespace; ``drop`` removes empty lines."""
    if content.count(b'\n') > 2 * MAX_ELEMENTS:
        raise ValueError(f'it has more than {2 * MAX_ELEMENTS} lines')
    if b'\0' in content:
        raise ValueError('expected text, found bytes of zero')
    lines = re.split(r'\r\n|\r|\n', content.removeprefix(b'\xef\xbb\xbf').decode('latin-1'))
    lines = [(line.partition(comment)[0] if comment else line).strip() for line in lines]
    return [line for line in lines if line] if drop else lines


def _integers(words: Sequence[str], message: str) -> list[int]:
    try:
        return [int(word) for word in words]
    except ValueError as error:
        raise ValueError(message) from error


def _check_count(count: int, name: str) -> int:
    if not isinstance(count, int) or not 0 <= count <= MAX_ELEMENTS:
        raise ValueError(f'{name}: expected a count from 0 to {MAX_ELEMENTS}, found {count}')
    return count


def _table(lines: Sequence[str], dtype: type = np.float64, columns: Sequence[int] | None = None) -> np.ndarray:
    """Parse one or more lines of numbers into an array ``[n, columns]``; with ``columns``, lengths may differ."""
    try:
        return np.loadtxt(lines, dtype, comments=None, usecols=columns, ndmin=2)
    except ValueError as error:
        # Remove NumPy's advice on its own arguments.
        raise ValueError(str(error).partition('; use ')[0]) from error


def _coordinates(lines: Sequence[str]) -> np.ndarray:
    """Parse lines that begin with three numbers into float64 ``[n, 3]``."""
    return _table(lines, columns=(0, 1, 2)) if lines else np.empty((0, 3))


def _fans(polygons: np.ndarray | Sequence[Sequence[int]]) -> np.ndarray:
    """Divide polygons into triangle fans ``[m, 3]``; polygons of fewer than three corners are dropped."""
    if isinstance(polygons, np.ndarray):
        corners = polygons.astype(np.int64)
        fans = [corners[:, [0, corner, corner + 1]] for corner in range(1, corners.shape[1] - 1)]
        return np.stack(fans, axis=1).reshape(-1, 3) if fans else np.empty((0, 3), np.int64)
    triangles = [(each[0], each[i], each[i + 1]) for each in polygons for i in range(1, len(each) - 1)]
    return np.array(triangles, np.int64).reshape(-1, 3)


TABLES = ('.asc', '.csv', '.pts', '.txt', '.xyz')
READERS: dict[str, Callable[[bytes], Shape]] = {
    **dict.fromkeys(TABLES, read_table),
    '.glb': read_glb,
    '.npy': read_npy,
    '.npz': read_npz,
    '.obj': read_obj,
    '.off': read_off,
    '.pcd': read_pcd,
    '.ply': read_ply,
    '.stl': read_stl,
}
