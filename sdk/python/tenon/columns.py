"""A batch's columns as Python lists, and lists as the buffers of a column.

Buffers are Arrow's: little-endian values, `rows + 1` offsets of four bytes where values vary in
length, and a bitmap of the rows that hold a value, empty when all do.
"""

import sys
from array import array

# array's typecodes for four and eight bytes on every platform that Python guests run on.
_FIXED = {"INT64": "q", "FLOAT32": "f", "FLOAT64": "d"}
_LISTS = {"UINT32_LIST": "I", "FLOAT32_LIST": "f"}


def find(batch, name):
    """The column of that name. Raises `KeyError` with the names that there are."""
    for column in batch.columns:
        if column.name == name:
            return column
    there = ", ".join(column.name for column in batch.columns)
    raise KeyError(f"there is no column {name!r}; there are {there}")


def values(batch, name):
    """A column's values, one a row; `None` where a row holds none."""
    column = find(batch, name)
    kind = column.kind.name
    if kind in _FIXED:
        rows = _numbers(_FIXED[kind], column.values).tolist()
    elif kind == "BOOLEAN":
        rows = [_bit(column.values, row) for row in range(batch.rows)]
    elif kind in _LISTS:
        numbers = _numbers(_LISTS[kind], column.values)
        rows = [numbers[start:end].tolist() for start, end in _ranges(column)]
    else:
        rows = [column.values[start:end] for start, end in _ranges(column)]
        if kind == "UTF8":
            rows = [text.decode() for text in rows]
    if len(rows) != batch.rows:
        raise ValueError(f"the column {name!r} has {len(rows)} values for {batch.rows} rows")
    if column.validity:
        rows = [
            value if _bit(column.validity, row) else None for row, value in enumerate(rows)
        ]
    return rows


def buffers(kind, rows):
    """The buffers (values, offsets, validity) of a column of such values; `None` for rows without one."""
    validity = b""
    if any(value is None for value in rows):
        validity = _bitmap(value is not None for value in rows)
    if kind in _FIXED:
        return _bytes(array(_FIXED[kind], [value or 0 for value in rows])), b"", validity
    if kind == "BOOLEAN":
        return _bitmap(bool(value) for value in rows), b"", validity
    offsets, end, parts = array("I", [0]), 0, []
    for value in rows:
        if kind == "UTF8":
            part = (value or "").encode()
            end += len(part)
        elif kind in _LISTS:
            part = _bytes(array(_LISTS[kind], value or ()))
            end += len(value or ())
        else:
            part = value or b""
            end += len(part)
        parts.append(part)
        offsets.append(end)
    return b"".join(parts), _bytes(offsets), validity


def _numbers(code, data):
    numbers = array(code)
    numbers.frombytes(data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _bytes(numbers):
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def _ranges(column):
    offsets = _numbers("I", column.offsets)
    return zip(offsets[:-1], offsets[1:])


def _bit(bitmap, index):
    return bool(bitmap[index >> 3] >> (index & 7) & 1)


def _bitmap(bits):
    bitmap = bytearray()
    for index, bit in enumerate(bits):
        if index & 7 == 0:
            bitmap.append(0)
        bitmap[-1] |= bit << (index & 7)
    return bytes(bitmap)
