"""One way to read an inventory, whatever it comes in: the file says which of the formats it is."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from inversion.inventory import ceads, delimited, edgar, interchange, unfccc, workbook
from inversion.inventory.entry import Inventory, InventoryError

FORMATS: Final = {
    "csv": "plain CSV, with a mapping of its columns",
    "ceads": "CEADs workbook of provincial CO2, one sheet a province",
    "unfccc": "UNFCCC workbook of one country and year, CRF or CRT",
    "edgar": "EDGAR time series workbook",
    "primap2": "primap2 interchange format, YAML with CSV",
}
"""Formats that `read` knows."""

_OPTIONS: Final = {
    "csv": {"mapping", "encoding"},
    "ceads": {"regions", "vintage"},
    "unfccc": {"region", "period", "vintage"},
    "edgar": {"unit", "vintage"},
    "primap2": set(),
}
_READERS: Final[dict[str, Callable[..., Inventory]]] = {
    "csv": delimited.read,
    "ceads": ceads.read_ceads,
    "unfccc": unfccc.read_unfccc,
    "edgar": edgar.read_edgar,
    "primap2": interchange.read_interchange,
}
_AREA: Final = re.compile(r"area \(.+\)")


def read(
    path: str | Path,
    format: str = "auto",  # noqa: A002 - the public name of the argument
    **options: Any,
) -> Inventory:
    """Read an inventory; every fault of the file is reported at once, with its line or its sheet and cell.

    Parameters
    ----------
    path : path
    format : {"auto", "csv", "ceads", "unfccc", "edgar", "primap2"}
        ``auto`` goes by the file's name and, for workbooks, by their sheets.
    mapping : dict or path of a TOML file, optional
        Of a CSV: ``[columns]`` our name = "the file's name"; ``[constants]`` our name = "value of the whole file";
        ``ignore = [columns not to read]``; ``delimiter``. Our names are those of `delimited.COLUMNS`.
    encoding : str, optional
        Of a CSV; ``gb18030`` for files saved by Chinese spreadsheets.
    regions : {"all", "mainland", "published"}, optional
        Of a CEADs workbook: which provinces it lacks are entered as NE; see `ceads.read_ceads`.
    region, period : str, optional
        Of a UNFCCC workbook that does not say which country and year it is of.
    unit : str, optional
        Of an EDGAR workbook that does not say it.
    vintage : str, optional
        Which submission it is, where the file does not say it or something else is wanted.

    Returns
    -------
    Inventory
        Values and σ in kt of the gas over each entry's period.

    Raises
    ------
    InventoryError
        With every fault found.
    """
    file = Path(path)
    if format != "auto" and format not in FORMATS:
        raise InventoryError(file.name, [f"Format {format!r} is not known: 'auto' and {', '.join(FORMATS)} are."])
    found = _format(file) if format == "auto" else format
    given: Mapping[str, Any] = {name: value for name, value in options.items() if value is not None}
    strange = sorted(set(given) - _OPTIONS[found])
    if strange:
        takes = f"takes {', '.join(sorted(_OPTIONS[found]))}" if _OPTIONS[found] else "takes no options"
        raise InventoryError(
            file.name, [f"It is read as {found!r} ({FORMATS[found]}), which {takes}, not {', '.join(strange)}."]
        )
    return _READERS[found](file, **given)


def _format(file: Path) -> str:
    suffix = file.suffix.casefold()
    if suffix in (".csv", ".tsv", ".txt"):
        return "primap2" if _is_interchange(file) else "csv"
    if suffix in (".yaml", ".yml"):
        return "primap2"
    if suffix in (".xlsx", ".xlsm"):
        with workbook.opened(file) as book:
            return _format_of_book(book, file.name)
    raise InventoryError(
        file.name, [f"Its format is not known from {file.suffix!r}: save it as CSV or xlsx, or give format=."]
    )


def _is_interchange(file: Path) -> bool:
    """Say whether a YAML of the same name lies beside a CSV that has a column such as ``area (ISO3)``."""
    if not any(file.with_suffix(suffix).exists() for suffix in (".yaml", ".yml")):
        return False
    with file.open(encoding="utf-8", errors="replace", newline="") as stream:
        return any(_AREA.fullmatch(name) for name in next(csv.reader(stream), []))


def _format_of_book(book: Any, name: str) -> str:
    for format_, belongs in (("ceads", ceads.is_ceads), ("edgar", edgar.is_edgar), ("unfccc", unfccc.is_unfccc)):
        if belongs(book):
            return format_
    sheets = ", ".join(book.sheetnames[:6])
    sentence = (
        f"Its sheets ({sheets}) are those of no inventory that is known ({', '.join(FORMATS)}): save the table as CSV, "
        "or give format=."
    )
    raise InventoryError(name, [sentence])
