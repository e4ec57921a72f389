"""Units of others' files, as they spell them: fluxes to mol m-2 s-1, mole fractions to mol mol-1."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from qc.units import MOLAR_MASS

MOLAR_MASS_CARBON: Final = 0.0120107
"""kg mol-1."""
SECONDS: Final = {"s": 1.0, "h": 3600.0, "hr": 3600.0, "d": 86400.0, "day": 86400.0, "yr": 365.25 * 86400.0}
"""Seconds in a unit of time; a month is as long as the interval it stands for."""
MONTHS: Final = ("month", "mon", "months")

MOLE_FRACTIONS: Final = {
    "mol mol-1": 1.0, "mol/mol": 1.0, "mole mole-1": 1.0, "mole/mole": 1.0,
    "umol mol-1": 1e-6, "micromol mol-1": 1e-6, "micromole mole-1": 1e-6, "ppm": 1e-6, "ppmv": 1e-6, "1e-6": 1e-6,
    "nmol mol-1": 1e-9, "nanomol mol-1": 1e-9, "ppb": 1e-9, "ppbv": 1e-9, "1e-9": 1e-9,
    "pmol mol-1": 1e-12, "ppt": 1e-12, "pptv": 1e-12, "1e-12": 1e-12,
}  # fmt: skip
"""Spellings of a dry mole fraction -> factor to mol mol-1."""
MASS_RATIOS: Final = ("kg kg-1", "kg kg**-1", "kg/kg")
"""Spellings of a mass of the gas over the mass of air, moist as models carry it."""

_PREFIX: Final = {"k": 1e3, "": 1.0, "m": 1e-3, "milli": 1e-3, "u": 1e-6, "µ": 1e-6, "micro": 1e-6, "n": 1e-9}
_FLUX: Final = re.compile(
    r"(?P<prefix>k|m|milli|u|µ|micro|n|)(?P<unit>mol|mole|g|gram)\s*(?P<carbon>\(?C\)?)?\s*"
    r"(?:/\s*m\^?2|m-2)\s*(?:/\s*(?P<per>[a-z]+)|(?P<time>[a-z]+)-1)"
)


@dataclass(frozen=True, slots=True)
class FluxUnit:
    """A unit of flux.

    Attributes
    ----------
    factor : float
        To mol m-2 per unit of time.
    seconds : float or None
        Length of that unit of time; None: a month.
    """

    factor: float
    seconds: float | None


def flux_unit(units: str, gas: str, *, as_carbon: bool = False) -> FluxUnit | None:
    """Return what a unit of flux means for a gas, None where it is not known.

    Parameters
    ----------
    units : str
        As the file writes it: "mol m-2 s-1", "kg/m2/s", "kgC m-2 month-1", ...
    gas : str
        "co2", "ch4", ...: masses without a C are of the gas itself.
    as_carbon : bool
        Masses are of carbon though the unit does not say so (a CF standard name "..._expressed_as_carbon").

    Returns
    -------
    FluxUnit or None

    Examples
    --------
    >>> flux_unit("umol m-2 s-1", "co2")
    FluxUnit(factor=1e-06, seconds=1.0)
    >>> flux_unit("ppm", "co2") is None
    True
    """
    plain = " ".join(re.sub(r"\*\*|\^|[{}]", "", units.replace(".", " ")).split())
    match = _FLUX.fullmatch(plain)
    if match is None:
        return None
    factor = _PREFIX[match["prefix"]]
    time = match["per"] or match["time"]
    if match["unit"].startswith("g"):
        carbon = bool(match["carbon"]) or as_carbon
        if not carbon and gas not in MOLAR_MASS:
            return None
        factor *= 1e-3 / (MOLAR_MASS_CARBON if carbon else MOLAR_MASS[gas])
    if time in MONTHS:
        return FluxUnit(factor, None)
    seconds = SECONDS.get("yr" if time in ("year", "a") else "s" if time == "sec" else time)
    return None if seconds is None else FluxUnit(factor, seconds)
