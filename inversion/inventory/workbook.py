"""Excel workbooks as inventories come in them: opened read-only, cells named as a reader of the sheet sees them."""

from __future__ import annotations

import math
import re
import warnings
import xml.etree.ElementTree as ET
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import openpyxl
from openpyxl.utils import get_column_letter
from openpyxl.utils.exceptions import InvalidFileException

from inversion.inventory.entry import InventoryError

MOST_UNPACKED: Final = 256 * 2**20
"""Bytes a workbook may have when unpacked: the largest ledgers have a tenth; beyond it memory is at risk."""
_DECLARES: Final = re.compile(rb"<!(?:DOCTYPE|ENTITY)")

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
            require_harmless(file)
            book = openpyxl.load_workbook(file, read_only=True, data_only=True)
    except (InvalidFileException, zipfile.BadZipFile, zlib.error, ET.ParseError, KeyError, OSError) as error:
        raise _none(file, error) from error
    try:
        yield book
    except (zipfile.BadZipFile, zlib.error, ET.ParseError) as error:  # sheets are unpacked as they are read
        raise _none(file, error) from error
    finally:
        book.close()


def require_harmless(file: Path) -> None:
    """Refuse a workbook that unpacks without end, or whose XML declares entities, before any of it is read as XML.

    Raises
    ------
    InventoryError
        Where it does: no spreadsheet writes such.
    BadZipFile
        Where it is no archive at all.
    """
    with zipfile.ZipFile(file) as archive:
        size = sum(part.file_size for part in archive.infolist())  # more than that zipfile does not unpack
        if size > MOST_UNPACKED:
            sentence = f"It unpacks to {size:,} bytes, at most {MOST_UNPACKED:,} are read: save the sheet as CSV."
            raise InventoryError(file.name, [sentence])
        for part in archive.infolist():
            with archive.open(part) as content:
                if part.filename.endswith((".xml", ".rels")) and _DECLARES.search(content.read(4096)):
                    sentence = f"Its part {part.filename!r} declares entities, as no spreadsheet does: it is not read."
                    raise InventoryError(file.name, [sentence])


def _none(file: Path, error: Exception) -> InventoryError:
    sentence = f"It is no xlsx workbook ({error}): open it in a spreadsheet and save it as xlsx, or save it as CSV."
    return InventoryError(file.name, [sentence])


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
