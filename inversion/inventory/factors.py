"""Emission factors as dated rows of a versioned table: what a fuel holds, and which row said so.

The table that comes with the package holds the defaults of the 2006 IPCC Guidelines (Vol. 2, Tables 1.2, 1.3, 1.4, 2.2)
and two grid factors of China; provinces, prefectures and years are laid over it with `FactorTable.over`.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import math
from collections.abc import Iterable
from dataclasses import astuple, dataclass, field, replace
from typing import Final

from inversion.errors import FaultsError
from inversion.inventory.entry import Period
from inversion.inventory.prefectures import chain

QUANTITIES: Final = {
    "ncv": "net calorific value, MJ kg-1 (TJ/kt) or MJ m-3 (TJ per 1e6 m3)",
    "carbon": "carbon content, kg GJ-1",
    "oxidation": "share of the carbon that is oxidised, 1",
    "emission": "emission factor of the gas, kg TJ-1",
    "grid": "emission factor of electricity or heat that is used, kg kWh-1 or kg GJ-1",
}
"""Quantities of the table, and the units in which they are held."""
UNITS: Final = {
    "ncv": {
        "TJ/Gg": ("kt", 1.0), "TJ/kt": ("kt", 1.0), "MJ/kg": ("kt", 1.0), "GJ/t": ("kt", 1.0), "kJ/kg": ("kt", 1e-3),
        "GJ/1e4 t": ("kt", 1e-4), "MJ/m3": ("1e6 m3", 1.0), "kJ/m3": ("1e6 m3", 1e-3), "GJ/1e4 m3": ("1e6 m3", 0.1),
        "TJ/1e8 m3": ("1e6 m3", 1e-2),
    },
    "carbon": {"kg/GJ": ("", 1.0), "t/TJ": ("", 1.0), "t/GJ": ("", 1e3)},
    "oxidation": {"1": ("", 1.0), "%": ("", 0.01)},
    "emission": {"kg/TJ": ("", 1.0), "t/TJ": ("", 1e3), "kg/GJ": ("", 1e3), "g/GJ": ("", 1.0)},
    "grid": {
        "kg/kWh": ("GWh", 1.0), "t/MWh": ("GWh", 1.0), "g/kWh": ("GWh", 1e-3), "t/GJ": ("TJ", 1e3),
        "kg/GJ": ("TJ", 1.0),
    },
}  # fmt: skip
"""Units that are read -> the activity's unit they are for, and the factor to the unit that is held."""
LARGE: Final = 0.3
"""Relative σ above which a factor is taken as lognormal (2006 IPCC Guidelines Vol. 1, section 3.2.3)."""
ANY: Final = "*"

_Z: Final = 1.959963984540054  # standard normal quantile of 0.975


class FactorError(FaultsError):
    """A factor table that cannot be read, or that has no row for what is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Factor:
    """One row of the table.

    Attributes
    ----------
    quantity : str
        Key of `QUANTITIES`.
    fuel : str
        Name of the fuel, ``*`` for every fuel.
    value : float
        In the unit of `QUANTITIES`.
    unit : str
        As it was given.
    lower, upper : float or None
        95 % interval, in the unit of `QUANTITIES`.
    sigma : float or None
        Relative standard uncertainty (1 σ), 1; it goes before the interval.
    gas, sector, region : str
        Empty: for all. `sector` is an IPCC 2006 code that also stands for what lies below it.
    valid_from, valid_to : datetime.date or None
        From the first day, until before the second.
    source, place : str
        Publication and table; file and line.
    """

    quantity: str
    fuel: str
    value: float
    unit: str
    lower: float | None = None
    upper: float | None = None
    sigma: float | None = None
    gas: str = ""
    sector: str = ""
    region: str = ""
    valid_from: dt.date | None = None
    valid_to: dt.date | None = None
    source: str = ""
    place: str = ""

    @property
    def per(self) -> str:
        """Unit of the activity it is for: ``kt``, ``1e6 m3``, ``GWh``, ``TJ``; "" where it does not matter."""
        return UNITS[self.quantity][self.unit][0]

    @property
    def relative(self) -> float:
        """Relative σ: s = (upper - lower) / (2 · 1.96 value), √(exp(σ_L²) - 1) where that is large; 0 if unstated."""
        if self.sigma is not None:
            return self.sigma
        if self.lower is None or self.upper is None:
            return 0.0
        plain = (self.upper - self.lower) / (2.0 * _Z * self.value)
        if plain <= LARGE or self.lower <= 0:
            return plain
        return math.sqrt(math.expm1((math.log(self.upper / self.lower) / (2.0 * _Z)) ** 2))

    @property
    def key(self) -> tuple[str, ...]:
        """What two rows of one table must not share."""
        span = (str(self.valid_from or ""), str(self.valid_to or ""))
        return (self.quantity, self.fuel, self.gas, self.sector, self.region, *span, self.per)

    def __str__(self) -> str:
        where = " ".join(part for part in (self.region, self.sector, self.gas) if part)
        first, last = self.valid_from or "", self.valid_to or ""
        span = f" [{first}, {last})" if first or last else ""
        return f"{self.quantity} {self.fuel}{' ' + where if where else ''}{span} = {self.value:g} ({self.place})"


@dataclass(frozen=True, slots=True)
class FactorTable:
    """Rows that were read together.

    Attributes
    ----------
    rows : tuple of Factor
    name, version : str
        For provenance.
    """

    rows: tuple[Factor, ...]
    name: str = "factors"
    version: str = ""
    _index: dict[tuple[str, str], tuple[Factor, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        index: dict[tuple[str, str], list[Factor]] = {}
        for row in self.rows:
            index.setdefault((row.quantity, row.fuel), []).append(row)
        object.__setattr__(self, "_index", {key: tuple(rows) for key, rows in index.items()})

    @property
    def digest(self) -> str:
        """Short digest of all rows (without where they were read), for provenance."""
        text = "\n".join(sorted(str(astuple(replace(row, place=""))) for row in self.rows))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def over(self, other: FactorTable) -> FactorTable:
        """Return this table laid over `other`: rows with the same key take the other's place, the rest is kept."""
        own = {row.key for row in self.rows}
        kept = tuple(row for row in other.rows if row.key not in own)
        version = "+".join(part for part in (other.version, self.version) if part)
        return FactorTable(kept + self.rows, f"{self.name} over {other.name}", version)

    def find(
        self, quantity: str, fuel: str, *, region: str, period: Period, sector: str = "", gas: str = "", per: str = ""
    ) -> Factor:
        """Return the row that holds for a fuel, region, sector and period; it says itself which it is.

        The nearest region goes first (prefecture, province, country, everywhere), then the nearest sector, then a row
        of the fuel before one of every fuel, then the row that became valid last.

        Parameters
        ----------
        quantity : str
        fuel : str
        region : str
            ISO 3166-2 or GB/T 2260 code.
        period : Period
            The whole of it must lie in the row's validity.
        sector, gas, per : str
            IPCC code, gas, and unit of the activity; "" where it does not matter.

        Returns
        -------
        Factor

        Raises
        ------
        FactorError
            When there is no row, with what there is for the fuel.
        """
        places = chain(region)
        rows = [*self._index.get((quantity, fuel), ()), *self._index.get((quantity, ANY), ())]
        fitting = [
            row
            for row in rows
            if row.region in places
            and row.gas in ("", gas)
            and _within(sector, row.sector)
            and (not per or row.per in ("", per))
            and (row.valid_from is None or row.valid_from <= period.start)
            and (row.valid_to is None or period.end <= row.valid_to)
        ]
        if not fitting:
            raise FactorError(self.name, [self._missing(quantity, fuel, region, period, sector, gas, per)])
        return min(fitting, key=lambda row: _order(row, places))

    def _missing(self, quantity: str, fuel: str, region: str, period: Period, sector: str, gas: str, per: str) -> str:
        have = self._index.get((quantity, fuel), ())
        wanted = " ".join(part for part in (gas, fuel, f"in {region}", f"in sector {sector}" if sector else "") if part)
        listed = "; ".join(str(row) for row in have[:4]) or "none at all"
        unit = f" for an activity in {per}" if per else ""
        remedy = "Add a row" if have else "Add a row, or map the fuel (fuels) to what the table calls it"
        return f"It has no {quantity} of {wanted} for {period}{unit}; of this fuel it has: {listed}. {remedy}."


def _within(sector: str, wanted: str) -> bool:
    return not wanted or sector == wanted or sector.startswith(f"{wanted}.")


def _order(row: Factor, places: tuple[str, ...]) -> tuple[int, int, bool, int, int]:
    since = row.valid_from.toordinal() if row.valid_from else 0
    return places.index(row.region), -len(row.sector), row.fuel == ANY, -since, 0 if row.gas else 1


def check(rows: Iterable[Factor]) -> list[str]:
    """Return what is wrong with rows: values that cannot be, intervals without the value, the same row twice."""
    faults: list[str] = []
    first: dict[tuple[str, ...], Factor] = {}
    for row in rows:
        faults += [f"{row.place}: {sentence}" for sentence in _wrong(row)]
        before = first.setdefault(row.key, row)
        if before is not row:
            faults.append(f"{row.place}: the same row is already there ({before.place}): leave one, or date them.")
    return faults


def _wrong(row: Factor) -> list[str]:
    low, high = row.lower, row.upper
    top = 1.0 if row.quantity == "oxidation" else math.inf
    least = 0.0 if row.quantity in ("emission", "grid") else math.ulp(0.0)
    cases = (
        (not least <= row.value <= top, f"the {row.quantity} {row.value:g} cannot be."),
        ((low is None) != (high is None), "an interval needs both lower and upper."),
        (
            low is not None and high is not None and not low <= row.value <= high,
            f"the value {row.value:g} lies outside its interval {low} to {high}.",
        ),
        (row.sigma is not None and row.sigma < 0, "the σ is negative."),
        (
            row.valid_from is not None and row.valid_to is not None and row.valid_to <= row.valid_from,
            f"it ends ({row.valid_to}) before it begins ({row.valid_from}).",
        ),
    )
    return [sentence for applies, sentence in cases if applies]
