"""Instrument-state rules: a dated table of what an instrument must look like for its values to count.

A rule names gas, site, instrument and model by patterns, an interval of time, a quantity, and either the
range its values must lie in (basis R) or the range their standard deviation within a short window must
lie in (basis V). Every rule that applies is looked at in order; **the first that fires gives the flag**,
and those after it cannot change it.

Patterns, as in NOAA's tables: ``*`` everything; ``xxx`` only that; ``!xxx`` all but that; ``xxx|yyy`` one
of these; ``!xxx|yyy`` none of these; ``xxx*``, ``*xxx`` beginning, ending. Case does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from qc.document import Table, load
from qc.errors import RuleError
from qc.flags import Flag
from qc.schema import nanoseconds
from qc.units import HPA_PER_TORR, QUANTITIES

ANY: Final = "any"
"""The quantity of a rule that fires on every row of its time."""
STATUS: Final = "status"

_TO_OUR_UNIT: Final[dict[tuple[str, str], tuple[float, float]]] = {
    ("torr", "hPa"): (HPA_PER_TORR, 0.0),
    ("Pa", "hPa"): (0.01, 0.0),
    ("K", "degC"): (1.0, -273.15),
    ("L min-1", "mL min-1"): (1000.0, 0.0),
}
"""(unit of a rule, our unit) -> factor and offset."""


class Basis(StrEnum):
    """What of a quantity is looked at."""

    RANGE = "R"
    VARIABILITY = "V"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Parameters
    ----------
    quantity
        A quantity of `qc.units`, ``"status"``, or ``"any"``: then the rule fires on every row.
    basis
        Range of the value, or of its standard deviation.
    minimum, maximum
        Limits, included, in the quantity's unit as `qc.units` has it.
    gas, site, instrument, model
        Patterns.
    start, end
        First moment the rule holds, first moment it holds no longer [UTC]; None is open.
    flag
        What it sets.
    window_seconds
        Width of the windows of a V rule, aligned to the epoch [s].
    letter, comment
        The source's own letter for it, and its words.
    """

    quantity: str
    basis: Basis = Basis.RANGE
    minimum: float = -np.inf
    maximum: float = np.inf
    gas: str = "*"
    site: str = "*"
    instrument: str = "*"
    model: str = "*"
    start: np.datetime64 | None = None
    end: np.datetime64 | None = None
    flag: Flag = Flag.BAD
    window_seconds: float = 60.0
    letter: str = ""
    comment: str = ""

    def concerns(self, *, gas: str, site: str, instrument: str, model: str = "") -> bool:
        """Return whether the patterns fit, whatever the time."""
        given = ((self.gas, gas), (self.site, site), (self.instrument, instrument), (self.model, model))
        return all(fits(pattern, name) for pattern, name in given)

    def __str__(self) -> str:
        kind = "SD of " if self.basis is Basis.VARIABILITY else ""
        return f"{kind}{self.quantity} from {self.minimum:g} to {self.maximum:g}"


class Outcome(NamedTuple):
    """What the rules said.

    Attributes
    ----------
    flag : int8 (row)
        GOOD, or the flag of the first rule that fired.
    rule : int32 (row)
        Index of that rule, -1 where none fired.
    evaluated : bool (row)
        Whether a rule fired, or each that holds there had something to look at.
    not_evaluated : tuple of str
        One sentence for each rule that had nothing to look at.
    """

    flag: NDArray[np.int8]
    rule: NDArray[np.int32]
    evaluated: NDArray[np.bool_]
    not_evaluated: tuple[str, ...]


class NoaaTable(NamedTuple):
    """A NOAA flag table: the rules that fit our quantities, and why the others were left out."""

    rules: tuple[Rule, ...]
    left_out: tuple[str, ...]


def fits(pattern: str, name: str) -> bool:
    """Return whether a name fits a pattern.

    Examples
    --------
    >>> fits("!BRW|SPO", "mlo"), fits("CO2|CH4", "co2"), fits("cavity*", "flow")
    (True, True, False)
    """
    pattern, name = pattern.casefold(), name.casefold()
    excluded = pattern.startswith("!")
    return any(fnmatchcase(name, part) for part in pattern.removeprefix("!").split("|")) != excluded


def apply(
    readings: xr.Dataset,
    rules: Sequence[Rule],
    *,
    gas: str,
    site: str,
    instrument: str,
    model: str = "",
    rows: NDArray[np.intp] | None = None,
) -> Outcome:
    """Return what the rules say about rows of an instrument.

    A rule is judged on the values of the same row; where the row has none, it is not evaluated there.
    The windows of a V rule take in all rows of the readings, and need two values.

    Parameters
    ----------
    readings : xr.Dataset
        READINGS.
    rules : sequence of Rule
        In order.
    gas, site, instrument, model : str
        What the rules' patterns are compared with.
    rows : intp (row), optional
        Indices of the rows asked about; all where left out.

    Returns
    -------
    Outcome
    """
    index = np.arange(readings.sizes["time"]) if rows is None else rows
    time = readings["time"].values[index]
    flag = np.full(index.size, Flag.GOOD, dtype=np.int8)
    fired_first = np.full(index.size, -1, dtype=np.int32)
    missing, asked = np.zeros(index.size, dtype=bool), np.zeros(index.size, dtype=bool)
    unheard = []
    for number, rule in enumerate(rules):
        if not rule.concerns(gas=gas, site=site, instrument=instrument, model=model):
            continue
        if rule.quantity != ANY and rule.quantity not in readings.variables:
            unheard.append(f"state rule {number} ({rule}): the readings have no {rule.quantity}")
            missing[:] = True
            continue
        judged = np.full(index.size, np.inf) if rule.quantity == ANY else _judged(readings, rule)[index]
        within = _within(rule, time)
        if within.any() and not np.isfinite(judged[within]).any() and rule.quantity != ANY:
            unheard.append(f"state rule {number} ({rule}): no row of {gas} has a {rule.quantity}")
        asked |= within
        missing |= within & np.isnan(judged)
        outside = (judged < rule.minimum) | (judged > rule.maximum) | (rule.quantity == ANY)
        fires = outside & within & (fired_first < 0)
        flag[fires] = rule.flag
        fired_first[fires] = number
    return Outcome(flag, fired_first, (fired_first >= 0) | (asked & ~missing), tuple(unheard))


def _within(rule: Rule, time: NDArray[np.datetime64]) -> NDArray[np.bool_]:
    within = np.ones(time.shape, dtype=bool)
    if rule.start is not None:
        within &= time >= rule.start
    if rule.end is not None:
        within &= time < rule.end
    return within


def _judged(readings: xr.Dataset, rule: Rule) -> NDArray[np.float64]:
    values = readings[rule.quantity].values
    if rule.basis is Basis.RANGE:
        return values
    window = nanoseconds(readings["time"]) // int(rule.window_seconds * 1e9)
    return _window_deviation(values, window)


def _window_deviation(values: NDArray[np.float64], window: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return for each row the sample SD of its window, NaN where that has fewer than two values."""
    if not values.size:
        return values
    edges = np.flatnonzero(np.r_[True, np.diff(window) != 0])
    lengths = np.diff(np.r_[edges, values.size])
    there = np.isfinite(values)
    n = np.repeat(np.add.reduceat(there.astype(np.float64), edges), lengths)
    low = np.repeat(np.minimum.reduceat(np.where(there, values, np.inf), edges), lengths)
    shifted = np.where(there, values - np.where(np.isfinite(low), low, 0.0), 0.0)
    mean = np.repeat(np.add.reduceat(shifted, edges), lengths) / np.maximum(n, 1)
    square = np.repeat(np.add.reduceat(np.where(there, shifted - mean, 0.0) ** 2, edges), lengths)
    return np.where(n >= 2, np.sqrt(square / np.maximum(n - 1, 1)), np.nan)


# --- reading tables ----------------------------------------------------------------------------


def read(path: str | Path) -> tuple[Rule, ...]:
    """Return the rules of a TOML file (``[[rule]]``); see `from_tables` for the keys.

    Raises
    ------
    RuleError
        With all faults at once.
    """
    faults: list[str] = []
    document = Table(load(path), str(path), faults)
    rules = from_tables(document.tables("rule"))
    document.close()
    if faults:
        raise RuleError("\n".join(faults))
    return rules


def from_dicts(rows: Iterable[Mapping[str, Any]], *, where: str = "rules") -> tuple[Rule, ...]:
    """Return rules from a list of dicts; see `from_tables` for the keys.

    Raises
    ------
    RuleError
        With all faults at once.
    """
    faults: list[str] = []
    rules = from_tables([Table(row, f"{where}[{i}]", faults) for i, row in enumerate(rows)])
    if faults:
        raise RuleError("\n".join(faults))
    return rules


def from_tables(tables: Iterable[Table]) -> tuple[Rule, ...]:
    """Return rules from tables; faults go to the tables' own list.

    Keys: ``quantity`` (a unit may follow it, as in ``cavity_pressure_torr``, or stand in ``unit``),
    ``basis`` ("R" or "V"), ``min``, ``max``, ``gas``, ``site``, ``instrument``, ``model``, ``start``, ``end``,
    ``flag`` ("bad" or "suspect"), ``window_seconds``, ``letter``, ``comment``.
    """
    return tuple(_rule(table) for table in tables)


def _rule(table: Table) -> Rule:
    basis = Basis(table.text("basis", "R", among=list(Basis)))
    quantity, factor, offset = _quantity(table)
    low, high = table.number("min", None), table.number("max", None)
    if quantity != ANY and low is None and high is None:
        table.fault("min", "is missing and so is max; a rule needs a limit")
    if low is not None and high is not None and low > high:
        table.fault("min", f"is {low:g}, above max {high:g}")
    offset = 0.0 if basis is Basis.VARIABILITY else offset
    rule = Rule(
        quantity=quantity,
        basis=basis,
        minimum=-np.inf if low is None else low * factor + offset,
        maximum=np.inf if high is None else high * factor + offset,
        gas=table.text("gas", "*"),
        site=table.text("site", "*"),
        instrument=table.text("instrument", "*"),
        model=table.text("model", "*"),
        start=table.moment("start"),
        end=table.moment("end"),
        flag=Flag[table.text("flag", "bad", among=("bad", "suspect")).upper()],
        window_seconds=table.number("window_seconds", 60.0, low=1e-3),
        letter=table.text("letter", ""),
        comment=table.text("comment", ""),
    )
    table.close()
    return rule


def _quantity(table: Table) -> tuple[str, float, float]:
    """Return the quantity of a rule, and the factor and offset that bring its limits to our unit."""
    name, unit = table.text("quantity") or "", table.text("unit", None)
    for given, _ in _TO_OUR_UNIT:
        suffix = f"_{given.lower()}"
        if unit is None and name.casefold().endswith(suffix) and name not in QUANTITIES:
            name, unit = name[: -len(suffix)], given
    if name not in QUANTITIES and name not in (ANY, STATUS, ""):
        table.fault("quantity", f"is {name!r}, expected a quantity of qc.units, 'status' or 'any'")
        return name, 1.0, 0.0
    ours = QUANTITIES[name].unit if name in QUANTITIES else "1"
    if unit is None or unit == ours:
        return name, 1.0, 0.0
    if (unit, ours) not in _TO_OUR_UNIT:
        known = ", ".join([ours, *(theirs for theirs, to in _TO_OUR_UNIT if to == ours)])
        table.fault("unit", f"is {unit!r}, expected one of {known} for {name}")
    factor, offset = _TO_OUR_UNIT.get((unit, ours), (1.0, 0.0))
    return name, factor, offset


# --- NOAA's own tables -------------------------------------------------------------------------

_NOAA_QUANTITIES: Final = {
    "cell_pressure": "cavity_pressure_torr",
    "cell_pressure_ch4_co2": "cavity_pressure_torr",
    "cell_pressure_n2o_co": "cavity_pressure_torr",
    "cavity_pressure_picarro": "cavity_pressure_torr",
    "cell_temperature": "cavity_temperature",
    "cell_temperature_ch4_co2": "cavity_temperature",
    "cell_temperature_n2o_co": "cavity_temperature",
    "flow": "flow",
    "sample_flow": "flow",
    "sample_flow_system": "flow",
    "any": ANY,
}
"""Name in NOAA's table -> our quantity, pressures in torr."""
_NOAA_COLUMNS: Final = ("gas", "site", "instrument", "start", "end", "quantity", "basis", "min", "max", "letter")


def read_noaa(path: str | Path) -> NoaaTable:
    """Return the rules of a NOAA flag table (``insitu_flag.conf``).

    Their ``system`` becomes the pattern of the instrument. Rules on quantities that `qc.units` does not
    have (trap temperatures, bleed flows, numbers of points, sample lines ...) are left out and named.
    All their flags mean rejected. The comment at the end of a line is kept.

    Raises
    ------
    RuleError
        Where a line does not have the ten columns or a wrong value; all faults at once.
    """
    faults: list[str] = []
    rules: list[Rule] = []
    left_out: list[str] = []
    text = Path(path).read_text(encoding="utf-8")
    for number, line in enumerate(text.splitlines(), start=1):
        columns, _, comment = line.partition(";")
        values = columns.split()
        if not values or line.lstrip().startswith("#"):
            continue
        where = f"{path}:{number}"
        if len(values) != len(_NOAA_COLUMNS):
            faults.append(f"{where}: has {len(values)} columns, expected {len(_NOAA_COLUMNS)}")
            continue
        row: dict[str, Any] = dict(zip(_NOAA_COLUMNS, values, strict=True))
        if row["quantity"].casefold() not in _NOAA_QUANTITIES:
            left_out.append(f"{where}: {row['quantity']} is no quantity of ours")
            continue
        rules.append(_rule(Table(_noaa_row(row, comment.strip()), where, faults)))
    if faults:
        raise RuleError("\n".join(faults))
    return NoaaTable(tuple(rules), tuple(left_out))


def _noaa_row(row: dict[str, Any], comment: str) -> dict[str, Any]:
    quantity = _NOAA_QUANTITIES[row["quantity"].casefold()]
    limits = {key: _number(row[key]) for key in ("min", "max") if row[key] != "*"}
    kept = {key: value for key, value in row.items() if key not in ("min", "max", "quantity")}
    return kept | limits | {"quantity": quantity} | ({"comment": comment} if comment else {})


def _number(text: str) -> float | str:
    """Return a number, or the text itself for the fault to show."""
    try:
        return float(text)
    except ValueError:
        return text
