"""The comparison as a spreadsheet: one sheet a gas, and a sheet of notes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import xarray as xr
import xlsxwriter

from inversion.crosscheck import total
from inversion.report import rows
from inversion.report.wording import MARKS, unit, window


class _Column(NamedTuple):
    title: str
    variable: str
    style: str
    width: float


_COLUMNS: Final = (
    _Column("Code", "region", "text", 9),
    _Column("GB/T 2260", "gbt2260", "text", 10),
    _Column("省份", "name_zh", "text", 9),
    _Column("Region", "name_en", "text", 16),
    _Column("Ledger", "inventory", "amount", 12),
    _Column("Ledger σ", "inventory_sigma", "amount", 11),
    _Column("Notation key", "inventory_notation", "text", 10),
    _Column("Prior", "prior", "amount", 12),
    _Column("Prior σ", "prior_sigma", "amount", 11),
    _Column("Inversion", "inversion", "amount", 12),
    _Column("Inversion σ", "inversion_sigma", "amount", 11),
    _Column("Ledger as the inversion sees it", "inventory_smoothed", "amount", 14),
    _Column("Difference (inversion − ledger as seen)", "difference", "signed", 15),
    _Column("Difference σ", "difference_sigma", "amount", 11),
    _Column("z", "z", "z", 7),
    _Column("Share seen", "share", "percent", 8),
    _Column("Difference as an error of the ledger", "ledger_difference", "signed", 14),
    _Column("Joint σ (error of the ledger)", "joint_sigma", "amount", 12),
    _Column("Shows at 3 σ (error of the ledger)", "detectable", "amount", 13),
    _Column("Verdict", "verdict", "text", 14),
    _Column("Why not resolved", "reason", "text", 40),
    _Column("Leaks most from", "leakage_region", "text", 10),
    _Column("by", "leakage", "percent", 7),
    _Column("Error most correlated with", "neighbour", "text", 12),
    _Column("r", "neighbour_correlation", "z", 7),
    _Column("Area in the domain", "covered", "percent", 9),
)
_SUMMED: Final = ("inventory", "prior", "inversion", "difference")
_FIRST: Final = 4  # row of the header, counted from 0


def write(path: Path, comparisons: Sequence[xr.Dataset], *, title: str, notes: Sequence[str] = ()) -> Path:
    """Write the workbook.

    Parameters
    ----------
    path : Path
    comparisons : sequence of xr.Dataset
        From `crosscheck.compare`, one a gas.
    title : str
    notes : sequence of str

    Returns
    -------
    Path
    """
    # Text is never taken for a formula or a link: names come from data.
    options = {"strings_to_formulas": False, "strings_to_urls": False, "nan_inf_to_errors": False}
    with xlsxwriter.Workbook(str(path), options) as book:
        book.set_properties({"title": title, "comments": "skyledger"})
        styles = _styles(book)
        for comparison in comparisons:
            _sheet(book, comparison, title, styles)
        _notes(book, comparisons, notes, styles)
    return path


def _styles(book: Any) -> dict[str, Any]:
    cell = {"font_name": "Arial", "font_size": 10, "valign": "top"}
    return {
        "title": book.add_format({"font_name": "Arial", "font_size": 14, "bold": True}),
        "head": book.add_format(
            cell | {"bold": True, "text_wrap": True, "bottom": 2, "bg_color": "#F0F3F6", "valign": "bottom"}
        ),
        "text": book.add_format(cell),
        "wrap": book.add_format(cell | {"text_wrap": True}),
        "bold": book.add_format(cell | {"bold": True}),
        "amount": book.add_format(cell | {"num_format": "#,##0.0"}),
        "signed": book.add_format(cell | {"num_format": "+#,##0.0;-#,##0.0;0.0"}),
        "z": book.add_format(cell | {"num_format": "0.00"}),
        "percent": book.add_format(cell | {"num_format": "0%"}),
        "higher": book.add_format({"font_color": "#8A4200", "bg_color": "#FEE0B6", "bold": True}),
        "lower": book.add_format({"font_color": "#542788", "bg_color": "#D8DAEB", "bold": True}),
        "not resolved": book.add_format({"font_color": "#6B6B6B"}),
    }


def _sheet(book: Any, comparison: xr.Dataset, title: str, styles: dict[str, Any]) -> None:
    sheet = book.add_worksheet(str(comparison.attrs["gas"]).upper()[:31])
    sheet.write_string(0, 0, title, styles["title"])
    a = comparison.attrs
    about = (
        f"{rows.gas(comparison)}, {unit(a['units'])}; ledger {a['ledger_period']}; "
        f"inversion {window(a['window']) or 'window not stated'}"
    )
    sheet.write_string(1, 0, about, styles["text"])
    sheet.write_string(2, 0, str(a["rule"]), styles["text"])
    for c, column in enumerate(_COLUMNS):
        sheet.write_string(_FIRST, c, column.title, styles["head"])
        sheet.set_column(c, c, column.width)
        if column.variable in comparison.variables:
            for r, value in enumerate(comparison[column.variable].values):
                _cell(sheet, _FIRST + 1 + r, c, value, styles[column.style])
    last = _FIRST + comparison.sizes["region"]
    _marks(sheet, last, styles)
    _sum(sheet, last + 1, comparison, styles)
    sheet.set_row(_FIRST, 58)
    sheet.freeze_panes(_FIRST + 1, _FIRST)
    sheet.autofilter(_FIRST, 0, last, len(_COLUMNS) - 1)
    sheet.set_landscape()
    sheet.set_paper(9)
    sheet.fit_to_pages(1, 0)
    sheet.repeat_rows(_FIRST)


def _cell(sheet: Any, row: int, column: int, value: Any, style: Any) -> None:
    """Write a number as a number, a text as a text, and nothing where there is nothing."""
    if isinstance(value, str):
        sheet.write_string(row, column, value, style)
    elif np.isfinite(value):
        sheet.write_number(row, column, float(value), style)
    else:
        sheet.write_blank(row, column, None, style)


def _marks(sheet: Any, last: int, styles: dict[str, Any]) -> None:
    """Colour the verdicts; the word stands there anyway."""
    column = next(c for c, made in enumerate(_COLUMNS) if made.variable == "verdict")
    for word in ("higher", "lower", "not resolved"):
        rule = {"type": "cell", "criteria": "==", "value": f'"{word}"', "format": styles[word]}
        sheet.conditional_format(_FIRST + 1, column, last, column, rule)


def _sum(sheet: Any, row: int, comparison: xr.Dataset, styles: dict[str, Any]) -> None:
    made = total(comparison)
    if not made["regions"]:
        return
    sheet.write_string(row, 3, f"Sum of {made['regions']} regions", styles["bold"])
    for c, column in enumerate(_COLUMNS):
        name = column.variable
        if name in made and (name.removesuffix("_sigma") in _SUMMED or name in ("z", "share", "verdict")):
            _cell(sheet, row, c, made[name], styles[column.style])


def _notes(book: Any, comparisons: Sequence[xr.Dataset], notes: Sequence[str], styles: dict[str, Any]) -> None:
    sheet = book.add_worksheet("Notes")
    sheet.set_column(0, 0, 30)
    sheet.set_column(1, 1, 120)
    lines: list[tuple[str, str]] = []
    for comparison in comparisons:
        lines += [(rows.gas(comparison), sentence) for sentence in rows.summary(comparison)]
        lines += [(f"Inversion: {f['grade']}", f["sentence"]) for f in rows.findings(comparison)]
        lines += rows.assumptions(comparison) + rows.diagnostics(comparison)
        head, *body = rows.sites(comparison) or [()]
        lines += [
            (f"Site {row[0]}", "; ".join(f"{name} {value}" for name, value in zip(head[1:], row[1:], strict=True)))
            for row in body
        ]
        lines += [("Limitation", sentence) for sentence in rows.limitations(comparison)]
    lines += [("Verdicts", ", ".join(f"{mark} {word}" for word, mark in MARKS.items()))]
    lines += [("Note", note) for note in notes]
    for r, (name, text) in enumerate(lines):
        sheet.write_string(r, 0, name, styles["bold"])
        sheet.write_string(r, 1, text, styles["wrap"])
    sheet.freeze_panes(0, 1)
