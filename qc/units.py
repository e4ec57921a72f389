"""Quantity names and their units, the same for everyone: drivers, wire, store, datasets.

`QUANTITIES` is the vocabulary. Drivers convert on reading, so nothing downstream converts again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Quantity:
    """A measured quantity: its unit (UDUNITS), CF standard name where there is one, and plain name."""

    unit: str
    long_name: str
    standard_name: str | None = None


_DRY = "mole_fraction_of_{}_in_dry_air"
_WET = "mole_fraction_of_{}_in_air"

QUANTITIES: Final[dict[str, Quantity]] = {
    "co2": Quantity("umol mol-1", "carbon dioxide as measured", _WET.format("carbon_dioxide")),
    "ch4": Quantity("nmol mol-1", "methane as measured", _WET.format("methane")),
    "n2o": Quantity("nmol mol-1", "nitrous oxide as measured", _WET.format("nitrous_oxide")),
    "co": Quantity("nmol mol-1", "carbon monoxide as measured", _WET.format("carbon_monoxide")),
    "co2_dry": Quantity("umol mol-1", "dry-air carbon dioxide by the instrument", _DRY.format("carbon_dioxide")),
    "ch4_dry": Quantity("nmol mol-1", "dry-air methane by the instrument", _DRY.format("methane")),
    "n2o_dry": Quantity("nmol mol-1", "dry-air nitrous oxide by the instrument", _DRY.format("nitrous_oxide")),
    "co_dry": Quantity("nmol mol-1", "dry-air carbon monoxide by the instrument", _DRY.format("carbon_monoxide")),
    "h2o": Quantity("10-2 mol mol-1", "water vapour", _WET.format("water_vapor")),
    "h2o_reported": Quantity("10-2 mol mol-1", "water vapour as reported, uncorrected"),
    "cavity_pressure": Quantity("hPa", "pressure in the measuring cell"),
    "cavity_temperature": Quantity("degC", "temperature of the measuring cell"),
    "box_temperature": Quantity("degC", "temperature of the instrument's box"),
    "ambient_temperature": Quantity("degC", "air temperature", "air_temperature"),
    "ambient_pressure": Quantity("hPa", "air pressure", "air_pressure"),
    "dew_point": Quantity("degC", "dew point", "dew_point_temperature"),
    "relative_humidity": Quantity("%", "relative humidity", "relative_humidity"),
    "wind_speed": Quantity("m s-1", "wind speed", "wind_speed"),
    "wind_direction": Quantity("degree", "direction the wind comes from", "wind_from_direction"),
    "flow": Quantity("mL min-1", "sample flow"),
    "outlet_valve": Quantity("1", "outlet valve position, instrument units"),
    "battery_voltage": Quantity("V", "supply voltage"),
}
"""Every quantity a station may send."""

SPECIES: Final = ("co2", "ch4", "n2o", "co")
"""The gases: what is averaged, calibrated and inverted."""

SCALES: Final = {"co2": "WMO CO2 X2019", "ch4": "WMO CH4 X2004A", "n2o": "WMO N2O X2006A", "co": "WMO CO X2014A"}
"""Calibration scales as the WMO names them; a source that does not say its scale must be told."""

TO_MOLE_FRACTION: Final = {
    "umol mol-1": 1e-6,
    "nmol mol-1": 1e-9,
    "pmol mol-1": 1e-12,
    "mol mol-1": 1.0,
    "10-2 mol mol-1": 1e-2,
}
"""Unit of a mole fraction -> factor to mol mol-1."""

HPA_PER_TORR: Final = 1.333223684
"""1 torr = 101325/760 Pa."""
MOLAR_MASS_DRY_AIR: Final = 0.02897
"""kg mol-1 (Lin et al. 2003)."""
MOLAR_MASS: Final = {"co2": 0.0440095, "ch4": 0.0160425, "n2o": 0.0440128, "co": 0.0280101}
"""kg mol-1."""
