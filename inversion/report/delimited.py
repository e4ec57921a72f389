"""The tables of a report as one CSV: a line a region, columns named as in the comparison, numbers as they are."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any, Final

import numpy as np

from inversion.report import page
from inversion.report.annex import Annex, Table
from inversion.vocabulary import ENGLISH

_HEADS: Final = ("table", "gas", "category", "ledger_period", "ledger_vintage", "ledger_source", "window", "units")
_COORDS: Final = ("region", "gbt2260", "name_zh", "name_en")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def write(path: Path, annex: Annex) -> Path:
    """Write the file: UTF-8 with a byte order mark, which Excel wants, and no text that a spreadsheet would run.

    A text that begins like a formula gets an apostrophe before it; numbers are written with all their digits.
    """
    columns = list(dict.fromkeys(name for table in annex.tables for name in _columns(table)))
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow([*_HEADS, *columns])
    for table in annex.tables:
        writer.writerows(_lines(table, columns))
    path.write_text(stream.getvalue(), encoding="utf-8-sig", newline="")
    return path


def _columns(table: Table) -> list[str]:
    ds = table.comparison
    coords = [name for name in (*_COORDS, "covered") if name in ds.coords]
    return coords + [str(name) for name, v in ds.data_vars.items() if v.dims == ("region",)]


def _lines(table: Table, columns: list[str]) -> list[list[str]]:
    ds = table.comparison
    a = ds.attrs
    said = {"table": page.heading(table, ENGLISH)} | {name: a[name] for name in _HEADS[1:]}
    head = [_text(said[name]) for name in _HEADS]
    return [
        head + [_text(ds[name].values[i]) if name in ds.variables else "" for name in columns]
        for i in range(ds.sizes["region"])
    ]


def _text(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "1" if value else "0"
    if isinstance(value, int | float | np.number):
        return repr(float(value)) if np.isfinite(value) else ""
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text
