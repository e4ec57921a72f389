"""Tables of the page: what stands in each cell, and the number behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr

from inversion.report import rows
from inversion.report.rows import Row
from inversion.vocabulary import Vocabulary
from inversion.wording import MARKS, NOTHING, percent, unit, with_sigma


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its head, a remark below it, and whether its cells are texts."""

    head: str
    note: str = ""
    text: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """What a cell shows.

    Attributes
    ----------
    text, below, code : str
        The second and third on a line of their own.
    name : str
        Variable that `value` is of.
    value : float, optional
        The number itself, by which the column is sorted; where there is none, by its text.
    style : str
    sigma : float, optional
        Of the value, where the text has one.
    """

    text: str
    below: str = ""
    name: str = ""
    value: float | None = None
    style: str = ""
    sigma: float | None = None
    code: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A row, and what it is of."""

    key: str
    cells: tuple[Cell, ...]
    style: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that are sorted among each other, under a head of their own.

    Attributes
    ----------
    fixed : bool
        A row of sums, which stays where it is.
    """

    head: str
    lines: tuple[Line, ...]
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class Grid:
    """A table."""

    caption: str
    columns: tuple[Column, ...]
    groups: tuple[Group, ...]
    name: str = ""


_BEHIND: Final = {"implied": "ledger_difference", "range": "inversion_median"}
_NUMBERS: Final = ("inventory", "prior", "inversion", "range", "difference", "z", "share", "implied", "detectable")


def of_comparison(comparison: xr.Dataset, words: Vocabulary, caption: str) -> Grid:
    """Return the table of regions: those resolved, those that are not, and the sum of all that were compared."""
    shown = tuple(n for n in _NUMBERS if n != "range" or "inversion_low" in comparison)
    resolved, unresolved, _ = rows.rows(comparison, words)
    columns = (
        Column(words("column.region"), text=True),
        *(Column(words(f"column.{n}"), words("column.of_ledger") if n == "detectable" else "") for n in shown),
        Column(words("column.verdict"), text=True),
        Column(words("column.remark"), text=True),
    )
    groups = []
    if resolved:
        groups.append(Group(words("page.resolved"), tuple(_region(row, shown, words) for row in resolved)))
    if unresolved:
        groups.append(Group(words("page.unresolved"), tuple(_region(row, shown, words) for row in unresolved)))
    made = rows.sums(comparison, words)
    if made:
        groups.append(Group("", (_sum(made, shown, words),), fixed=True))
    return Grid(caption, columns, tuple(groups), "comparison")


def _region(row: Row, shown: Sequence[str], words: Vocabulary) -> Line:
    first, second = (row.name_zh, row.name_en) if words.language == "zh" else (row.name_en, row.name_zh)
    cells = [Cell(first or second or row.code, below=second if first else "", code=row.code)]
    for name in shown:
        variable = _BEHIND.get(name, name)
        value = row.values.get(variable)
        if name == "inventory" and row.inventory != NOTHING and not np.isfinite(value or np.nan):
            value = None  # a notation key
        cells.append(Cell(getattr(row, name), name=variable, value=None if getattr(row, name) == NOTHING else value))
    style = row.verdict.split()[0]
    cells += [Cell(f"{row.mark} {row.word}", style=style), Cell(row.remark, style="remark")]
    return Line(row.code, tuple(cells), "dim" if row.verdict == "not resolved" else "")


def _sum(made: dict[str, Any], shown: Sequence[str], words: Vocabulary) -> Line:
    cells = [Cell(words("page.sum", regions=made["regions"]))]
    cells += [
        Cell(str(made.get(name, "")), name=name if name in made else "", value=made["values"].get(name))
        for name in shown
    ]
    cells += [
        Cell(f"{made['mark']} {made['word']}", style=str(made["verdict"]).split()[0]),
        Cell(words("page.sum_remark"), style="remark"),
    ]
    return Line("sum", tuple(cells), "sum")


def of_texts(table: Sequence[Sequence[str]], *, caption: str = "", name: str = "") -> Grid:
    """Return a table of texts, its head first; columns whose texts are numbers are sorted as such."""
    head, *body = table
    lines = tuple(Line(line[0], tuple(Cell(text, value=_plain(text)) for text in line)) for line in body)
    columns = tuple(Column(text, text=i == 0) for i, text in enumerate(head))
    return Grid(caption, columns, (Group("", lines),), name)


def _plain(text: str) -> float | None:
    try:
        return float(text.replace("\u202f", "").replace("−", "-"))
    except ValueError:
        return None


def of_configurations(configurations: xr.Dataset, compared: Sequence[str], words: Vocabulary) -> Grid:
    """Return the configurations, whether each was used, and its sum over the regions compared."""
    chosen = np.isin(configurations["region"].values.astype(str), list(compared))
    units = configurations["inversion"].attrs["units"]
    lines = []
    for name in configurations["configuration"].values.astype(str):
        one = configurations.sel(configuration=name)
        value = float(one["inversion"].values[chosen].sum())
        sigma = float(np.sqrt(one["inversion_covariance"].values[np.ix_(chosen, chosen)].sum()))
        used = words("row.yes") if bool(one["usable"]) else f"{words('row.no')}: {one['reason'].item()}"
        lines.append(
            Line(
                name,
                (Cell(words.sentence(name)), Cell(with_sigma(value, sigma), value=value), Cell(used, style="remark")),
            )
        )
    columns = (
        Column(words("column.configuration"), text=True),
        Column(words("page.sum_compared", regions=int(chosen.sum())), unit(units)),
        Column(words("column.usable"), text=True),
    )
    return Grid("", columns, (Group("", tuple(lines)),), "configurations")


def _named(ds: xr.Dataset, i: int, words: Vocabulary) -> Cell:
    code = str(ds["region"].values[i])
    name_en, name_zh = (str(ds[n].values[i]) if n in ds.coords else "" for n in ("name_en", "name_zh"))
    return Cell(words.name(name_en, name_zh, code), code=code)


_TRENDS: Final = {"inversion": "inversion_trend", "inventory": "inventory_trend", "difference": "difference"}


def of_trends(trends: xr.Dataset, words: Vocabulary, caption: str) -> Grid:
    """Return the trends of both sides, and their difference, region by region."""
    lines = []
    for i, code in enumerate(trends["region"].values.astype(str)):
        one = trends.isel(region=i)
        cells = [_named(trends, i, words)]
        cells += [_amount(one, name, sign=True) for name in _TRENDS.values()]
        cells += [_share(one["share"].item()), *_verdict(str(one["verdict"].item()), words)]
        why = " ".join(words.sentence(str(one[n].item())) for n in ("reason", "remark") if one[n].item())
        cells.append(Cell(why, style="remark"))
        lines.append(Line(code, tuple(cells), "dim" if one["verdict"].item() == "not resolved" else ""))
    columns = (
        Column(words("column.region"), text=True),
        *(Column(words(f"column.trend_{side}")) for side in _TRENDS),
        Column(words("column.share")),
        Column(words("column.verdict"), text=True),
        Column(words("column.remark"), text=True),
    )
    return Grid(caption, columns, (Group("", tuple(lines)),), "trends")


def _amount(one: xr.Dataset, name: str, *, sign: bool = False) -> Cell:
    value, sigma = (float(one[n].item()) for n in (name, f"{name}_sigma"))
    known = _finite(sigma)
    return Cell(with_sigma(value, sigma, sign=sign), name=name, value=_finite(value), sigma=known)


def _share(share: float) -> Cell:
    return Cell(percent(share), name="share", value=_finite(share))


def _verdict(word: str, words: Vocabulary) -> tuple[Cell]:
    return (Cell(f"{MARKS[word]} {words.verdict(word)}", style=word.split(maxsplit=1)[0]),)


def of_periods(trends: xr.Dataset, words: Vocabulary, caption: str) -> Grid:
    """Return ledger and inversion of every region and period."""
    lines = []
    for i, code in enumerate(trends["region"].values.astype(str)):
        for p, period in enumerate(trends["period"].values.astype(str)):
            one = trends.isel(region=i, period=p)
            ledger = _amount(one, "inventory")
            if one["inventory_notation"].item():
                ledger = Cell(str(one["inventory_notation"].item()))
            cells = (
                _named(trends, i, words),
                Cell(period),
                ledger,
                _amount(one, "prior"),
                _amount(one, "inversion"),
                _amount(one, "period_difference", sign=True),
            )
            lines.append(Line(f"{code} {period}", cells))
    columns = (
        Column(words("column.region"), text=True),
        Column(words("column.period"), text=True),
        *(Column(words(f"column.{name}")) for name in ("inventory", "prior", "inversion", "difference")),
    )
    return Grid(caption, columns, (Group("", tuple(lines)),), "periods")


def of_attribution(attribution: xr.Dataset, words: Vocabulary, caption: str) -> Grid:
    """Return what of a region's difference goes to which sector, as far as sectors can be told apart.

    Regions of which nothing can be compared are left out.
    """
    names = ("inventory", "inversion")
    columns = (
        Column(words("column.region"), text=True),
        Column(words("column.sector"), text=True),
        *(Column(words(f"column.{name}")) for name in names),
        Column(words("column.resolved"), text=True),
        Column(words("column.group"), text=True),
        Column(words("column.attributed")),
        Column(words("column.attributed_share")),
        Column(words("column.verdict"), text=True),
    )
    return Grid(caption, columns, (Group("", tuple(_sectors(attribution, words))),), "attribution")


def _sectors(attribution: xr.Dataset, words: Vocabulary) -> Iterator[Line]:
    compared = np.isfinite(attribution["region_difference"].values)
    ds = attribution.isel(region=compared).transpose("region", "sector", ...)
    for i, code in enumerate(ds["region"].values.astype(str)):
        for j, sector in enumerate(ds["sector"].values.astype(str)):
            one = ds.isel(region=i, sector=j)
            apart = bool(one["resolved"].item())
            cells = (
                _named(ds, i, words),
                Cell(sector),
                _amount(one, "inventory"),
                _amount(one, "inversion"),
                Cell(words("row.yes" if apart else "row.no")),
                Cell(str(one["group"].item())),
                _amount(one, "group_difference", sign=True),
                _share(one["group_share"].item()),
                *_verdict(str(one["group_verdict"].item()), words),
            )
            yield Line(f"{code} {sector}", cells, "" if apart else "dim")


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
