"""A report as a spreadsheet: one sheet a table, averaging kernels, trends and sectors, and a sheet of notes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import xarray as xr
import xlsxwriter

from inversion.crosscheck import total
from inversion.report import page, rows
from inversion.report.annex import Annex, Table
from inversion.report.grid import Grid
from inversion.vocabulary import ENGLISH, Vocabulary
from inversion.wording import MARKS, unit, window


class _Column(NamedTuple):
    label: str
    variable: str
    style: str
    width: float


_COLUMNS: Final = (
    _Column("code", "region", "text", 9),
    _Column("gbt2260", "gbt2260", "text", 10),
    _Column("name_zh", "name_zh", "text", 9),
    _Column("name_en", "name_en", "text", 16),
    _Column("inventory", "inventory", "amount", 12),
    _Column("inventory_sigma", "inventory_sigma", "amount", 11),
    _Column("inventory_notation", "inventory_notation", "text", 10),
    _Column("prior", "prior", "amount", 12),
    _Column("prior_sigma", "prior_sigma", "amount", 11),
    _Column("inversion", "inversion", "amount", 12),
    _Column("inversion_sigma", "inversion_sigma", "amount", 11),
    _Column("inversion_median", "inversion_median", "amount", 13),
    _Column("inversion_low", "inversion_low", "amount", 11),
    _Column("inversion_high", "inversion_high", "amount", 11),
    _Column("inversion_spread", "inversion_spread", "amount", 13),
    _Column("inversion_lowest", "inversion_lowest", "text", 14),
    _Column("inversion_highest", "inversion_highest", "text", 14),
    _Column("one_sided", "one_sided", "yes", 11),
    _Column("inventory_smoothed", "inventory_smoothed", "amount", 14),
    _Column("difference_full", "difference", "signed", 15),
    _Column("difference_sigma", "difference_sigma", "amount", 11),
    _Column("z", "z", "z", 7),
    _Column("p", "p", "p", 8),
    _Column("p_adjusted", "p_adjusted", "p", 10),
    _Column("share", "share", "percent", 8),
    _Column("implied", "ledger_difference", "signed", 14),
    _Column("joint_sigma", "joint_sigma", "amount", 12),
    _Column("detectable_full", "detectable", "amount", 13),
    _Column("verdict", "verdict", "verdict", 14),
    _Column("reason", "reason", "sentence", 40),
    _Column("remark", "remark", "sentence", 30),
    _Column("leakage_region", "leakage_region", "text", 10),
    _Column("leakage", "leakage", "percent", 7),
    _Column("neighbour", "neighbour", "text", 12),
    _Column("neighbour_correlation", "neighbour_correlation", "z", 7),
    _Column("covered", "covered", "percent", 9),
)
_SUMMED: Final = ("inventory", "prior", "inversion", "difference")
_FIRST: Final = 4  # row of the header, counted from 0
_NAMES: Final = 4  # columns that stay where they are: code to English name
_SEVERAL: Final = 2  # regions from which on there is a sum
_FORBIDDEN: Final = re.compile(r"[\[\]:*?/\\]")
_LONGEST: Final = 31


class _Book(NamedTuple):
    """A workbook in the making, with its styles and the languages of its heads."""

    book: Any
    styles: dict[str, Any]
    spoken: Sequence[Vocabulary]

    def head(self, key: str) -> str:
        """Return a label in all languages, one below the other."""
        return "\n".join(dict.fromkeys(words(key) for words in self.spoken))

    def sheet(self, name: str) -> Any:
        """Add a sheet; its name is cut to what a workbook allows, and told apart from those there are."""
        plain = _FORBIDDEN.sub(" ", name).strip("' ") or "Sheet"
        taken = {sheet.get_name().casefold() for sheet in self.book.worksheets()}
        for number in range(1, len(taken) + 2):
            end = "" if number == 1 else f" {number}"
            made = plain[: _LONGEST - len(end)].rstrip("' ") + end
            if made.casefold() not in taken and made.casefold() != "history":
                return self.book.add_worksheet(made)
        raise AssertionError


def write(path: Path, annex: Annex, spoken: Sequence[Vocabulary] = (ENGLISH,)) -> Path:
    """Write the workbook: a sheet a table, averaging kernels, trends, sectors, notes.

    Parameters
    ----------
    path : Path
    annex : Annex
    spoken : sequence of Vocabulary
        Heads are in all of them, sentences in the first; each has a sheet of notes.

    Returns
    -------
    Path
    """
    # Text is never taken for a formula or a link: names come from data.
    options = {"strings_to_formulas": False, "strings_to_urls": False, "nan_inf_to_errors": False}
    with xlsxwriter.Workbook(str(path), options) as book:
        book.set_properties({"title": annex.title, "comments": "skyledger", "status": annex.imprint.status})
        made = _Book(book, _styles(book), spoken)
        for table in annex.tables:
            _sheet(made, table, annex)
        for table in annex.tables:
            _kernel(made, table)
        grids = [
            *(("trends", page.trend_grid(trend, spoken[0])) for trend in annex.trends),
            *(("periods", page.period_grid(trend, spoken[0])) for trend in annex.trends),
            *(("attribution", page.attribution_grid(t, spoken[0])) for t in annex.tables if t.attribution is not None),
        ]
        for label, grid in grids:
            _grid(made, spoken[0](f"workbook.{label}"), grid)
        for words in spoken:
            _notes(made, annex, words)
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
        "p": book.add_format(cell | {"num_format": "0.0000"}),
        "percent": book.add_format(cell | {"num_format": "0%"}),
        "higher": book.add_format({"font_color": "#8A4200", "bg_color": "#FEE0B6", "bold": True}),
        "lower": book.add_format({"font_color": "#542788", "bg_color": "#D8DAEB", "bold": True}),
        "not resolved": book.add_format({"font_color": "#6B6B6B"}),
    }


def _sheet(made: _Book, table: Table, annex: Annex) -> None:
    comparison, words, styles = table.comparison, made.spoken[0], made.styles
    columns = [column for column in _COLUMNS if column.variable in comparison.variables]
    sheet = made.sheet(table.name or str(comparison.attrs["gas"]).upper())
    sheet.write_string(0, 0, annex.titles.get(words.language, annex.title), styles["title"])
    a = comparison.attrs
    about = {"gas": rows.gas(comparison), "units": unit(a["units"]), "period": a["ledger_period"]}
    seen = window(a["window"], words("row.to")) or words("page.no_window")
    sheet.write_string(1, 0, words("workbook.about", window=seen, **about), styles["text"])
    sheet.write_string(2, 0, rows.rule(comparison, words), styles["text"])
    for c, column in enumerate(columns):
        sheet.write_string(_FIRST, c, made.head(f"column.{column.label}"), styles["head"])
        sheet.set_column(c, c, column.width)
        for r, value in enumerate(comparison[column.variable].values):
            _cell(sheet, _FIRST + 1 + r, c, _said(value, column.style, words), styles.get(column.style, styles["text"]))
    last = _FIRST + comparison.sizes["region"]
    _marks(sheet, last, columns, words, styles)
    _sum(sheet, last + 1, columns, comparison, words, styles)
    sheet.set_row(_FIRST, 58 * len(made.spoken))
    sheet.freeze_panes(_FIRST + 1, _NAMES)
    sheet.autofilter(_FIRST, 0, last, len(columns) - 1)
    _printed(sheet)


def _printed(sheet: Any) -> None:
    sheet.set_landscape()
    sheet.set_paper(9)
    sheet.fit_to_pages(1, 0)
    sheet.repeat_rows(_FIRST)


def _said(value: Any, style: str, words: Vocabulary) -> Any:
    """Return what a cell shows: words in their language, the rest as it is."""
    if style == "verdict":
        return words.verdict(str(value))
    if style == "sentence":
        return words.sentence(str(value))
    if style == "yes":
        return words("row.yes" if value else "row.no")
    return value


def _kernel(made: _Book, table: Table) -> None:
    """Write the averaging kernel of a table, whole."""
    comparison, words, styles = table.comparison, made.spoken[0], made.styles
    sheet = made.sheet(f"{words('workbook.kernel')} {table.name or str(comparison.attrs['gas']).upper()}")
    sheet.write_string(0, 0, words("workbook.kernel_about"), styles["text"])
    codes = comparison["region"].values.astype(str)
    for i, code in enumerate(codes):
        sheet.write_string(_FIRST, 1 + i, code, styles["head"])
        sheet.write_string(_FIRST + 1 + i, 0, code, styles["bold"])
        for j, value in enumerate(comparison["averaging_kernel"].values[i]):
            _cell(sheet, _FIRST + 1 + i, 1 + j, value, styles["z"])
    sheet.freeze_panes(_FIRST + 1, 1)
    _printed(sheet)


def _grid(made: _Book, name: str, grid: Grid) -> None:
    """Write a table of the page: a column for its text, one for the number behind it."""
    sheet, styles = made.sheet(name), made.styles
    sheet.write_string(0, 0, grid.caption, styles["text"])
    heads = [f"{column.head} {column.note}".strip() for column in grid.columns]
    for c, head in enumerate(heads):
        sheet.write_string(_FIRST, c, head, styles["head"])
        sheet.set_column(c, c, 20)
    for r, line in enumerate(line for group in grid.groups for line in group.lines):
        for c, cell in enumerate(line.cells):
            if cell.value is None or cell.sigma is not None:
                sheet.write_string(
                    _FIRST + 1 + r, c, " ".join(filter(None, (cell.text, cell.below, cell.code))), styles["text"]
                )
            else:
                sheet.write_number(_FIRST + 1 + r, c, cell.value, styles["amount"])
    sheet.freeze_panes(_FIRST + 1, 1)
    _printed(sheet)


def _cell(sheet: Any, row: int, column: int, value: Any, style: Any) -> None:
    """Write a number as a number, a text as a text, and nothing where there is nothing."""
    if isinstance(value, str):
        sheet.write_string(row, column, value, style)
    elif np.isfinite(value):
        sheet.write_number(row, column, float(value), style)
    else:
        sheet.write_blank(row, column, None, style)


def _marks(sheet: Any, last: int, columns: Sequence[_Column], words: Vocabulary, styles: dict[str, Any]) -> None:
    """Colour the verdicts; the word stands there anyway."""
    column = next(c for c, made in enumerate(columns) if made.variable == "verdict")
    for word in ("higher", "lower", "not resolved"):
        rule = {"type": "cell", "criteria": "==", "value": f'"{words.verdict(word)}"', "format": styles[word]}
        sheet.conditional_format(_FIRST + 1, column, last, column, rule)


def _sum(
    sheet: Any,
    row: int,
    columns: Sequence[_Column],
    comparison: xr.Dataset,
    words: Vocabulary,
    styles: dict[str, Any],
) -> None:
    made = total(comparison)
    if int(made["regions"]) < _SEVERAL:
        return
    place = next((c for c, column in enumerate(columns) if column.variable == "name_en"), 0)
    sheet.write_string(row, place, words("page.sum", regions=made["regions"]), styles["bold"])
    for c, column in enumerate(columns):
        name = column.variable
        if name in made and (name.removesuffix("_sigma") in _SUMMED or name in ("z", "share", "verdict")):
            value = _said(made[name], column.style, words)
            _cell(sheet, row, c, value, styles.get(column.style, styles["text"]))


def _notes(made: _Book, annex: Annex, words: Vocabulary) -> None:
    sheet = made.sheet(words("workbook.notes"))
    sheet.set_column(0, 0, 30)
    sheet.set_column(1, 1, 120)
    for r, (name, text) in enumerate(_lines(annex, words)):
        sheet.write_string(r, 0, name, made.styles["bold"])
        sheet.write_string(r, 1, text, made.styles["wrap"])
    sheet.freeze_panes(0, 1)


def _lines(annex: Annex, words: Vocabulary) -> Iterator[tuple[str, str]]:
    yield words("column.state"), words(f"state.{annex.imprint.status}")
    for table in annex.tables:
        yield from _of_table(table, words)
    yield words("workbook.verdicts"), ", ".join(f"{mark} {words.verdict(word)}" for word, mark in MARKS.items())
    yield from ((words("workbook.note"), note) for note in annex.notes)
    for step in annex.imprint.history:
        said = (words(f"state.{step.state}"), step.when, step.who, step.remarks, step.digest)
        yield words("heading.states"), " · ".join(filter(None, said))
    yield from page.provenance(annex, words)


def _of_table(table: Table, words: Vocabulary) -> Iterator[tuple[str, str]]:
    comparison = table.comparison
    name = page.heading(table, words)
    yield from ((name, sentence) for sentence in rows.summary(comparison, words))
    for finding in rows.findings(comparison):
        yield words("workbook.inversion_says", grade=words(f"grade.{finding.grade}")), finding.sentence
    yield from rows.assumptions(comparison, words)
    yield from rows.diagnostics(comparison, words)
    head, *body = rows.sites(comparison, words) or [()]
    for row in body:
        said = "; ".join(f"{label} {value}" for label, value in zip(head[1:], row[1:], strict=True))
        yield words("workbook.site", site=row[0]), said
    yield from ((words("heading.attribution"), text) for text in page.sentences(table, words))
    yield from ((words("workbook.limitation"), sentence) for sentence in rows.limitations(comparison, words))
