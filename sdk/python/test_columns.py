"""`python3 -m unittest` in this folder."""

import unittest
from enum import Enum
from types import SimpleNamespace

from tenon import columns

Kind = Enum("Kind", "UTF8 BINARY BOOLEAN INT64 FLOAT32 FLOAT64 UINT32_LIST FLOAT32_LIST")


def column(name, kind, rows):
    values, offsets, validity = columns.buffers(kind, rows)
    return SimpleNamespace(
        name=name, kind=Kind[kind], values=values, offsets=offsets, validity=validity
    )


class Columns(unittest.TestCase):
    def test_what_goes_in_comes_out(self):
        cases = {
            "UTF8": ["天", "", None, "ab"],
            "BINARY": [b"\0\1", b"", None, b"x"],
            "BOOLEAN": [True, False, None] * 5,
            "INT64": [1, -(2**60), None],
            "FLOAT32": [0.5, None, -2.0],
            "FLOAT64": [1e300, None],
            "UINT32_LIST": [[1, 4_000_000_000], [], None],
            "FLOAT32_LIST": [[0.25], None, [1.0, 2.0]],
        }
        for kind, rows in cases.items():
            for rows in (rows, [value for value in rows if value is not None], []):
                with self.subTest(kind=kind, rows=rows):
                    batch = SimpleNamespace(rows=len(rows), columns=[column("x", kind, rows)])
                    self.assertEqual(columns.values(batch, "x"), rows)

    def test_layout_is_arrows(self):
        self.assertEqual(
            columns.buffers("UTF8", ["天", "a"]),
            ("天a".encode(), bytes([0, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0]), b""),
        )
        self.assertEqual(columns.buffers("BOOLEAN", [True, None]), (b"\x01", b"", b"\x01"))

    def test_a_missing_column_is_named(self):
        batch = SimpleNamespace(rows=0, columns=[column("x", "UTF8", [])])
        with self.assertRaisesRegex(KeyError, "no column 'y'; there are x"):
            columns.values(batch, "y")


if __name__ == "__main__":
    unittest.main()
