"""Excel workbooks as inventories come in them: opened read-only, cells named as a reader of the sheet sees them."""

from __future__ import annotations

import math
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openpyxl
from openpyxl.utils import get_column_letter
from openpyxl.utils.exceptions import InvalidFileException

from inversion.inventory.entry import InventoryError

Rows = list[tuple[Any, ...]]
"""Values of a sheet, row by row."""


@contextmanager
def opened(path: str | Path) -> Iterator[Any]:
    """Open a workbook for reading; what it computes is read as last computed.

    Raises
    ------
    InventoryError
        When it is no xlsx workbook.
    """
    file = Path(path)
    if not file.exists():
        raise InventoryError(file.name, [f"There is no file {str(file)!r}: check the path."])
    try:
        with warnings.catch_warnings():
            # openpyxl says what of a workbook's looks it does not know; only its values matter here.
            warnings.simplefilter("ignore", UserWarning)
            book = openpyxl.load_workbook(file, read_only=True, data_only=True)
    except (InvalidFileException, zipfile.BadZipFile, KeyError, OSError) as error:
        sentence = f"It is no xlsx workbook ({error}): open it in a spreadsheet and save it as xlsx, or save it as CSV."
        raise InventoryError(file.name, [sentence]) from error
    try:
        yield book
    finally:
        book.close()


def rows(sheet: Any) -> Rows:
    """Return all values of a sheet; what a file says about its own size is not believed."""
    sheet.reset_dimensions()
    return [tuple(row) for row in sheet.iter_rows(values_only=True)]


def cell(sheet: str, row: int, column: int) -> str:
    """Return the name of a cell, counted from 0, as in ``Beijing2019!C7``.

    Examples
    --------
    >>> cell("Beijing2019", 6, 2)
    'Beijing2019!C7'
    """
    return f"{sheet}!{get_column_letter(column + 1)}{row + 1}"


def text(value: Any) -> str:
    """Return the text of a cell with single blanks; "" for an empty one."""
    return "" if value is None else " ".join(str(value).split())


def at(row: tuple[Any, ...], column: int) -> Any:
    """Return a value of a row; None beyond its end, for rows end where their last value is."""
    return row[column] if column < len(row) else None


def number(value: Any) -> float | None:
    """Return the finite number a cell holds; None where it holds none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
