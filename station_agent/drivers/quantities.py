"""Quantities an agent may send, the unit each is sent in, and how makers' units become it.

The same vocabulary as the server's (``qc.units``), which the agent does not import.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from station_agent.keys import nearest

HPA_PER_TORR: Final = 1.333223684
"""1 torr = 101325/760 Pa."""

UNITS: Final[Mapping[str, str]] = {
    "co2": "umol mol-1",
    "ch4": "nmol mol-1",
    "n2o": "nmol mol-1",
    "co": "nmol mol-1",
    "co2_dry": "umol mol-1",
    "ch4_dry": "nmol mol-1",
    "n2o_dry": "nmol mol-1",
    "co_dry": "nmol mol-1",
    "h2o": "10-2 mol mol-1",
    "h2o_reported": "10-2 mol mol-1",
    "cavity_pressure": "hPa",
    "cavity_temperature": "degC",
    "box_temperature": "degC",
    "ambient_temperature": "degC",
    "ambient_pressure": "hPa",
    "dew_point": "degC",
    "relative_humidity": "%",
    "wind_speed": "m s-1",
    "wind_direction": "degree",
    "flow": "mL min-1",
    "outlet_valve": "1",
    "battery_voltage": "V",
}
"""Quantity -> the unit it is sent in."""

_MOLE_FRACTION: Final[Mapping[str, float]] = {
    "mol mol-1": 1e6,
    "10-2 mol mol-1": 1e4,
    "%": 1e4,
    "mmol mol-1": 1e3,
    "umol mol-1": 1.0,
    "ppm": 1.0,
    "nmol mol-1": 1e-3,
    "ppb": 1e-3,
    "pmol mol-1": 1e-6,
    "ppt": 1e-6,
}
"""Unit -> umol mol-1."""

_FACTORS: Final[Mapping[str, Mapping[str, float]]] = {
    "hPa": {"hPa": 1.0, "mbar": 1.0, "kPa": 10.0, "Pa": 0.01, "torr": HPA_PER_TORR, "mmHg": HPA_PER_TORR},
    "%": {"%": 1.0},
    "m s-1": {"m s-1": 1.0, "m/s": 1.0, "km/h": 1 / 3.6, "kn": 1852 / 3600},
    "degree": {"degree": 1.0, "deg": 1.0},
    "mL min-1": {"mL min-1": 1.0, "mL/min": 1.0, "L min-1": 1000.0, "L/min": 1000.0},
    "V": {"V": 1.0, "mV": 0.001},
    "1": {"1": 1.0},
}
"""Unit sent -> (unit read -> factor)."""

_SIGNS: Final = str.maketrans({"µ": "u", "μ": "u", "°": "deg", "⁻": "-", "−": "-", "¹": "1", "_": " "})
"""Signs of makers -> how they stand in the tables above."""
_SPELLINGS: Final[Mapping[str, str]] = {
    "celsius": "degC",
    "deg c": "degC",
    "degrees c": "degC",
    "kelvin": "K",
    "mol/mol": "mol mol-1",
    "mmol/mol": "mmol mol-1",
    "umol/mol": "umol mol-1",
    "nmol/mol": "nmol mol-1",
    "pmol/mol": "pmol mol-1",
    "ppmv": "ppm",
    "ppbv": "ppb",
    "percent": "%",
    "millibar": "mbar",
    "mb": "mbar",
    "hectopascal": "hPa",
    "meters/second": "m/s",
    "degrees": "degree",
    "ml min-1": "mL min-1",
    "ml/min": "mL/min",
    "l min-1": "L min-1",
    "l/min": "L/min",
    "lpm": "L/min",
    "volt": "V",
    "volts": "V",
}
"""Other spellings, in small letters -> the one in the tables above."""


def _spelled(unit: str) -> str:
    """Return the unit as it stands in the tables, where it is one of its other spellings."""
    plain = unit.strip().translate(_SIGNS)
    return _SPELLINGS.get(plain.lower(), plain)


def conversion(quantity: str, unit: str) -> tuple[float, float] | str:
    """Return (factor, offset) such that ``value * factor + offset`` is in the unit sent, or what is wrong.

    Parameters
    ----------
    quantity
        A name of `UNITS`.
    unit
        The unit the instrument writes; also as makers spell it (``°C``, ``µmol mol⁻¹``, ``Volts``).

    Examples
    --------
    >>> conversion("ch4", "ppm")
    (1000.0, 0.0)
    >>> conversion("cavity_pressure", "ppm")
    "cavity_pressure cannot be in 'ppm', known are hPa, mbar, kPa, Pa, torr, mmHg"
    """
    sent = UNITS.get(quantity)
    if sent is None:
        close = nearest(quantity, UNITS)
        hint = f"did you mean {close!r}?" if close else f"known are {', '.join(UNITS)}"
        return f"{quantity!r} is no known quantity, {hint}"
    known = _spelled(unit)
    if sent == "degC":
        offsets = {"degC": 0.0, "C": 0.0, "K": -273.15}
        return (1.0, offsets[known]) if known in offsets else _unknown(quantity, unit, offsets)
    if sent in _MOLE_FRACTION and sent != "%":
        if known not in _MOLE_FRACTION:
            return _unknown(quantity, unit, _MOLE_FRACTION)
        ratio = _MOLE_FRACTION[known] / _MOLE_FRACTION[sent]
        # Powers of ten come out of the division a hair off; the exact one is meant.
        return float(f"{ratio:.12g}"), 0.0
    factors = _FACTORS[sent]
    return (factors[known], 0.0) if known in factors else _unknown(quantity, unit, factors)


def _unknown(quantity: str, unit: str, known: Mapping[str, float]) -> str:
    return f"{quantity} cannot be in {unit[:60]!r}, known are {', '.join(known)}"
