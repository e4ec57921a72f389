"""Entries of an inventory, their periods, and the table of one gas and period that is compared with the sky."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from inversion.errors import FaultsError, InversionError

UNIT: Final = "kt"
"""Unit in which values and σ are held: kilotonnes of the gas over the entry's period."""
NOTATION_KEYS: Final = {
    "NE": "not estimated",
    "NO": "not occurring",
    "IE": "included elsewhere",
    "C": "confidential",
    "NA": "not applicable",
    "FX": "flexibility applied",
}
"""Notation keys of the UNFCCC reporting guidelines; FX is of the common reporting tables."""
_WHOLE_WITH: Final = ("NO", "IE", "NA")
TOTAL: Final = "0"
"""Category of a total over all categories."""
AGGREGATES: Final = {
    "M.0.EL": "national total without land use, land-use change and forestry",
    "M.AG": "agriculture: 3.A and the agricultural part of 3.C",
    "M.AG.ELV": "agriculture without livestock",
    "M.LULUCF": "land use, land-use change and forestry",
    "M.BK": "international bunkers",
    "M.BK.A": "international aviation",
    "M.BK.M": "international navigation",
    "M.BIO": "CO2 from biomass burnt for energy",
    "M.MULTIOP": "multilateral operations",
}
"""Sums that cut across the IPCC 2006 tree, and memo items, under the names that primap2 gives them."""
HALF_95: Final = 1.959963984540054
"""Standard normal quantile of 0.975."""

DAYS_PER_YEAR: Final = 365.25
_CATEGORY: Final = re.compile(r"[1-5](\.[A-Z](\.\d{1,2}(\.[a-z](\.[ivx]+(\.\d)?)?)?)?)?")
_JOINED: Final = re.compile(r"([1-5])([A-Z])?(\d{1,2})?([a-z])?([ivx]+)?")


class InventoryError(FaultsError):
    """An inventory that cannot be read, or that does not hold what is asked of it."""


class PeriodError(InversionError):
    """Text that is no period."""


class CategoryError(InversionError):
    """Text that is no IPCC 2006 category."""


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """A span of whole days, `end` not included, in the inventory's own calendar (Beijing time for China).

    Attributes
    ----------
    start, end : datetime.date
    """

    start: dt.date
    end: dt.date

    @classmethod
    def parse(cls, text: str) -> Period:
        """Return the period that ``2019``, ``2019-03``, ``2019-03-05`` or ``2019-01/2019-02`` stands for.

        Both ends of ``first/last`` are included: ``2019-01/2019-02`` ends with February.

        Raises
        ------
        PeriodError

        Examples
        --------
        >>> str(Period.parse("2019-01/2019-02")), Period.parse("2020").days
        ('2019-01/2019-02', 366)
        """
        first, slash, last = text.strip().partition("/")
        start, end = _span(first, text)
        if slash:
            end = _span(last, text)[1]
        if end <= start:
            raise PeriodError(f"The period {text!r} ends before it begins.")
        return cls(start, end)

    @property
    def days(self) -> int:
        """Length in days."""
        return (self.end - self.start).days

    @property
    def years(self) -> float:
        """Length in years; a calendar year is exactly 1, anything else is measured in years of 365.25 days."""
        whole = self.end.year - self.start.year
        if (self.start.month, self.start.day) == (1, 1) == (self.end.month, self.end.day):
            return float(whole)
        return self.days / DAYS_PER_YEAR

    def __str__(self) -> str:
        first, last = _shortest(self.start, self.end)
        return first if last is None else f"{first}/{last}"


def _span(text: str, whole: str) -> tuple[dt.date, dt.date]:
    part = text.strip()
    try:
        if re.fullmatch(r"\d{4}", part):
            year = int(part)
            return dt.date(year, 1, 1), dt.date(year + 1, 1, 1)
        if re.fullmatch(r"\d{4}-\d{2}", part):
            start = dt.date.fromisoformat(f"{part}-01")
            return start, _next_month(start)
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", part):
            start = dt.date.fromisoformat(part)
            return start, start + dt.timedelta(days=1)
    except (ValueError, OverflowError) as error:
        raise PeriodError(f"The period {whole!r} holds no date of the calendar ({error}).") from error
    raise PeriodError(f"The period {whole!r} is none: expected 2019, 2019-03, 2019-03-05 or 2019-01/2019-02.")


def _next_month(day: dt.date) -> dt.date:
    return dt.date(day.year + day.month // 12, day.month % 12 + 1, 1)


def _shortest(start: dt.date, end: dt.date) -> tuple[str, str | None]:
    """Write a span with years where it can, else with months, else with days."""
    last = end - dt.timedelta(days=1)
    if (start.month, start.day, end.month, end.day) == (1, 1, 1, 1):
        first_text, last_text = f"{start.year:04d}", f"{last.year:04d}"
    elif start.day == 1 == end.day:
        first_text, last_text = start.isoformat()[:7], last.isoformat()[:7]
    else:
        first_text, last_text = start.isoformat(), last.isoformat()
    return first_text, None if first_text == last_text else last_text


def category(text: str) -> str:
    """Return an IPCC 2006 category code with its dots, or one of `AGGREGATES`; "0" is the total.

    Raises
    ------
    CategoryError

    Examples
    --------
    >>> category("1A1a"), category("1.A.1.a"), category("0")
    ('1.A.1.a', '1.A.1.a', '0')
    """
    code = text.strip().rstrip(".")
    if code == TOTAL or code in AGGREGATES or _CATEGORY.fullmatch(code):
        return code
    joined = _JOINED.fullmatch(code)
    dotted = ".".join(part for part in joined.groups() if part) if joined else ""
    if _CATEGORY.fullmatch(dotted):
        return dotted
    raise CategoryError(f"{text!r} is no IPCC 2006 category: expected a code such as 1.A.1.a, or 0 for the total.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What an inventory says about one region, category, gas and period.

    Attributes
    ----------
    region : str
        ISO 3166-2 code of a province, ISO 3166-1 alpha-3 code of a country.
    gas : str
        ``co2``, ``ch4``, ...
    period : Period
    category : str
        IPCC 2006 code, "0" for the total.
    value : float or None
        kt of the gas over the period; None where there is a notation key instead.
    sigma : float or None
        Standard uncertainty (1 σ), kt; None where the inventory states none.
    notation : str
        NE, NO, IE, C or NA, several joined by a comma; empty where there is a value.
    source, vintage : str
        Who published it, and which submission it is.
    place : str
        Where it was read: file and line, or file, sheet and cell.
    published : str
        The publisher's own category: a CEADs sector, a CRF or CRT code.
    fuel : str
        What was burnt, or ``process``; empty for all together.
    scope : int
        1 for what is emitted on the territory; 2 for electricity and heat used there, whoever emitted it.
    part : bool
        Only a part of its category (one sector of several, one fuel): several such make the whole.
    unit : str
        Unit in which it was published.
    interval : tuple of float, optional
        95 % interval (low, high), kt, where the uncertainty is lopsided (lognormal).
    """

    region: str
    gas: str
    period: Period
    category: str = TOTAL
    value: float | None = None
    sigma: float | None = None
    notation: str = ""
    source: str = ""
    vintage: str = ""
    place: str = ""
    published: str = ""
    fuel: str = ""
    scope: int = 1
    part: bool = False
    unit: str = ""
    interval: tuple[float, float] | None = None

    @property
    def deviation(self) -> float | None:
        """Standard uncertainty, kt: σ where it is stated, else that of the 95 % interval, else None.

        σ = value √(exp(s²) - 1), s = ln(high / low) / (2 · 1.96): lognormal with the value as its mean, where the
        interval lies above 0; σ = (high - low) / (2 · 1.96) elsewhere.
        """
        if self.sigma is not None or self.interval is None or self.value is None:
            return self.sigma
        low, high = self.interval
        if low <= 0:
            return (high - low) / (2 * HALF_95)
        return self.value * math.sqrt(math.expm1((math.log(high / low) / (2 * HALF_95)) ** 2))

    @property
    def incomplete(self) -> str:
        """Notation keys that leave the value incomplete, or stand in its place; "" where there are none.

        A sum of which a part does not occur, is included elsewhere or not applicable is whole; one of which a part is
        not estimated or confidential is not.
        """
        if self.value is None:
            return self.notation
        return ",".join(key for key in self.notation.split(",") if key and key not in _WHOLE_WITH)

    @property
    def known(self) -> float | None:
        """The value, kt, where nothing is missing from it, else None."""
        return None if self.incomplete else self.value

    @property
    def key(self) -> tuple[str, str, str, Period, str, str, str, int]:
        """What two entries must not share."""
        return (
            self.region,
            self.gas,
            self.category,
            self.period,
            self.vintage,
            self.published,
            self.fuel,
            self.scope,
        )


@dataclass(frozen=True, slots=True)
class Ledger:
    """One gas, category and period of an inventory, region by region, as annual rates.

    Attributes
    ----------
    codes : tuple of str (k)
    rate, sigma : array (k,)
        kt yr-1; NaN where the inventory has none, or not all of it (`Entry.incomplete`).
    notation : tuple of str (k)
        Notation keys; "" where there is a value, or no entry at all.
    gas, category, vintage, source : str
    period : Period
    """

    codes: tuple[str, ...]
    rate: NDArray[np.float64]
    sigma: NDArray[np.float64]
    notation: tuple[str, ...]
    gas: str
    category: str
    vintage: str
    source: str
    period: Period


@dataclass(frozen=True, slots=True)
class Inventory:
    """Entries that were read together.

    Attributes
    ----------
    entries : tuple of Entry
    name : str
        File or publication, for messages and provenance.
    notes : tuple of str
        What was left out on reading, and why; what the file says about itself.
    """

    entries: tuple[Entry, ...]
    name: str = "inventory"
    notes: tuple[str, ...] = ()

    def select(
        self,
        *,
        gas: str | None = None,
        category: str | None = None,
        period: Period | str | None = None,
        vintage: str | None = None,
        region: str | None = None,
        scope: int | None = None,
        fuel: str | None = None,
        published: str | None = None,
    ) -> Inventory:
        """Return the entries that have all the given properties."""
        span = Period.parse(period) if isinstance(period, str) else period
        wanted: dict[str, Any] = {"gas": gas, "category": category, "period": span, "vintage": vintage}
        wanted |= {"region": region, "scope": scope, "fuel": fuel, "published": published}
        chosen = {name: value for name, value in wanted.items() if value is not None}
        return Inventory(
            tuple(e for e in self.entries if all(getattr(e, name) == value for name, value in chosen.items())),
            self.name,
            self.notes,
        )

    def ledger(
        self,
        codes: Sequence[str],
        *,
        gas: str | None = None,
        category: str | None = None,
        period: Period | str | None = None,
        vintage: str | None = None,
    ) -> Ledger:
        """Return the annual rates of the regions `codes`, for one gas, category, period and vintage.

        What is not given must be the same in all entries left: nothing is guessed, summed or averaged. What is only
        part of its category does not stand for it (`sums.totals` adds parts up), and Scope 2 is of no territory.

        Raises
        ------
        InventoryError
            When several (or no) gases, categories, periods or vintages are left, or entries that are only parts, or
            of Scope 2.
        """
        wanted = {"gas": gas, "category": category, "period": period, "vintage": vintage}
        selected = self.select(gas=gas, category=category, period=period, vintage=vintage)
        if not selected.entries:
            raise InventoryError(self.name, [self._nothing_of(wanted)])
        chosen = selected.whole(codes)
        span: Period = chosen.only("period")
        found = {entry.region: entry for entry in chosen.entries}
        return Ledger(
            codes=tuple(codes),
            rate=_numbers(found[c].known if c in found else None for c in codes) / span.years,
            sigma=_numbers(found[c].deviation if c in found else None for c in codes) / span.years,
            notation=tuple(found[c].incomplete if c in found else "" for c in codes),
            gas=chosen.only("gas"),
            category=chosen.only("category"),
            vintage=chosen.only("vintage"),
            source="; ".join(sorted({entry.source for entry in chosen.entries if entry.source})),
            period=span,
        )

    def _nothing_of(self, wanted: dict[str, Any]) -> str:
        """Say what was asked for, and what there is."""
        asked = {name: str(value) for name, value in wanted.items() if value is not None}
        have = {name: sorted({str(getattr(e, name)) or "(none)" for e in self.entries}) for name in asked}
        there = "; ".join(
            f"{name} {', '.join(values[:6])}{', ...' if len(values) > 6 else ''}" for name, values in have.items()
        )
        return f"It has no entry of {', '.join(f'{name} {value}' for name, value in asked.items())}: " + (
            f"it holds {there}; choose of these." if self.entries else "it holds nothing."
        )

    def whole(self, codes: Sequence[str]) -> Inventory:
        """Return the entries that stand for their category, of Scope 1.

        Raises
        ------
        InventoryError
            Where one of `codes` has only parts, or only Scope 2, or two entries that claim the same.
        """
        whole = tuple(e for e in self.entries if not e.part and e.scope == 1)
        wholes = {e.region for e in whole}
        faults = []
        left = sorted({e.region for e in self.entries if e.region in codes} - wholes)
        if left and all(e.scope != 1 for e in self.entries if e.region in left):
            faults.append(
                f"What it holds of {', '.join(left[:8])} is Scope 2, electricity and heat used but not emitted there: "
                "a territorial comparison needs Scope 1."
            )
        elif left:
            faults.append(
                f"It holds only parts of the category for {', '.join(left[:8])} (sectors, fuels): add them up with "
                "inventory.totals first."
            )
        seen: dict[tuple[Any, ...], Entry] = {}
        for e in whole:
            before = seen.setdefault((e.region, e.gas, e.category, e.period, e.vintage), e)
            if before is not e and e.region in codes:
                faults.append(
                    f"{e.region} {e.category} {e.period} is there twice ({before.place}, {e.place}): leave one."
                )
        if faults:
            raise InventoryError(self.name, faults)
        return Inventory(whole, self.name, self.notes)

    def only(self, what: str) -> Any:
        """Return the one gas, category, period or vintage that all entries have.

        Raises
        ------
        InventoryError
            When there are several, or no entries.
        """
        values = sorted({getattr(entry, what) for entry in self.entries})
        if len(values) == 1:
            return values[0]
        listed = ", ".join(str(value) or "(none)" for value in values[:8])
        sentence = (
            f"It holds {len(values)} {what} values ({listed}): choose one with {what}=."
            if values
            else "No entry is left after choosing gas, category, period and vintage: see what the file holds."
        )
        raise InventoryError(self.name, [sentence])

    def to_dataset(self) -> xr.Dataset:
        """Return all entries on one dimension ``entry``, values in kt, periods as ISO dates."""
        columns: dict[str, Any] = {f.name: [getattr(e, f.name) for e in self.entries] for f in fields(Entry)}
        spans = [[p.start, p.end] for p in columns.pop("period")]
        bounds = np.array(spans, "datetime64[D]").astype("datetime64[ns]").reshape(-1, 2)
        numbers = {name: _numbers(columns.pop(name)) for name in ("value", "sigma")}
        ends = columns.pop("interval")
        numbers |= {name: _numbers(None if pair is None else pair[i] for pair in ends) for i, name in _ENDS}
        return xr.Dataset(
            {name: ("entry", values) for name, values in columns.items()}
            | {name: ("entry", values, {"units": UNIT}) for name, values in numbers.items()}
            | {"period_bnds": (("entry", "nbnds"), bounds)},
            attrs={"title": self.name},
        )


_ENDS: Final = ((0, "low"), (1, "high"))


def _numbers(values: Iterable[float | None]) -> NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)
