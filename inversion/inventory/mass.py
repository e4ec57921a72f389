"""Units of inventory values: the one place where pint is used."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Any, Final

import pint

from inversion.errors import InversionError
from inversion.inventory.entry import UNIT, Period
from qc.units import MOLAR_MASS

_CARBON: Final = 0.0120107  # kg mol-1
_CARBON_ATOMS: Final = {"co2": 1, "ch4": 1, "co": 1}
_UNITS: Final = {
    "g": "gram",
    "kg": "kilogram",
    "t": "metric_ton",
    "tonne": "metric_ton",
    "tonnes": "metric_ton",
    "kt": "kilometric_ton",
    "Mt": "megametric_ton",
    "Gt": "gigametric_ton",
    "Mg": "megagram",
    "Gg": "gigagram",
    "Tg": "teragram",
    "Pg": "petagram",
    "吨": "metric_ton",
    "千吨": "kilometric_ton",
    "万吨": "10**4 metric_ton",
    "亿吨": "10**8 metric_ton",
    "10^4 t": "10**4 metric_ton",
    "1e4 t": "10**4 metric_ton",
}
"""Spellings, and what pint calls them (its own kt is the knot, its mt a kilogram)."""
_RATE: Final = re.compile(r"\s*(?:/\s*(?:yr|a|year)|(?:yr|a|year)\s*(?:-1|\^-1|\*\*-1))\s*$")
_EQUIVALENT: Final = re.compile(r"(.*?)\s*\(?CO2[- ]?(?:e|eq|equivalent)\.?\)?", re.IGNORECASE)


class UnitError(InversionError):
    """A unit that is no mass of the gas."""


@functools.cache
def _registry() -> Any:
    return pint.UnitRegistry()


@dataclass(frozen=True, slots=True)
class Mass:
    """How to turn numbers of one unit into kt of the gas over the period.

    Attributes
    ----------
    factor : float
        kt of the gas for one of the unit (per year where `per_year`).
    per_year : bool
        The unit is an annual rate, so that the length of the period counts.
    """

    factor: float
    per_year: bool

    def kilotonnes(self, value: float, period: Period) -> float:
        """Return `value` as kt over the period."""
        return value * self.factor * (period.years if self.per_year else 1.0)


@functools.cache
def parse(text: str, gas: str) -> Mass:
    """Return what a unit such as ``kt``, ``Mt CO2``, ``Gg yr-1``, ``kt C`` or ``万吨`` means for `gas`.

    Raises
    ------
    UnitError
        For what is no mass, names another gas, or is in CO2 equivalents of a gas that is not CO2.

    Examples
    --------
    >>> parse("Tg", "ch4").factor, parse("万吨", "co2").factor
    (1000.0, 10.0)
    """
    bare, per_year = _RATE.subn("", text.strip())
    equivalent = _EQUIVALENT.fullmatch(bare)
    if equivalent and gas != "co2":
        raise UnitError(
            f"The unit {text!r} counts {gas} in CO2 equivalents, which need a global warming potential: give the mass "
            "of the gas."
        )
    amount, share = (equivalent[1], 1.0) if equivalent else _substance(bare.strip(), gas, text)
    if amount not in _UNITS:
        raise UnitError(f"The unit {text!r} is no mass of {gas}: expected one of {', '.join(_UNITS)}.")
    # Powers of ten come out of pint with a rounding error in the last digit.
    factor = float(f"{_registry().Quantity(_UNITS[amount]).to(_UNITS[UNIT]).magnitude:.12g}")
    return Mass(factor * share, bool(per_year))


def _substance(bare: str, gas: str, text: str) -> tuple[str, float]:
    """Split off the substance a unit names; carbon is converted to the gas."""
    amount, space, name = bare.rpartition(" ")
    if not space or name == "t":
        return bare, 1.0
    if name.casefold() == gas:
        return amount, 1.0
    if name in ("C", "carbon") and gas in _CARBON_ATOMS:
        return amount, MOLAR_MASS[gas] / (_CARBON_ATOMS[gas] * _CARBON)
    if name.casefold() in MOLAR_MASS:
        raise UnitError(f"The unit {text!r} is of {name}, the entry of {gas}: correct one of them.")
    return bare, 1.0
