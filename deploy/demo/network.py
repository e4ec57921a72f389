"""The eight simulated stations: where they stand, what hangs on their masts, what is wrong with three of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from deploy.demo.operation import Operation, Round

INSTRUMENT: Final = "g2301"


class Trouble(StrEnum):
    """What a station suffers from."""

    NONE = "none"
    DRIFT = "drifting instrument"
    BAD_LINK = "bad link"
    SPIKES = "spikes"


@dataclass(frozen=True, slots=True)
class Tank:
    """A cylinder at a station's valve: what it holds, assigned with `uncertainty` [umol mol-1 and nmol mol-1]."""

    port: str
    name: str
    co2: float
    ch4: float
    target: bool = False


TANKS: Final = (
    Tank("7", "SIM-D01", 400.12, 1880.4),
    Tank("8", "SIM-D02", 450.31, 2150.9),
    Tank("9", "SIM-T01", 425.67, 1995.2, target=True),
)
"""Those of the station that calibrates itself: two standards, and a target that only checks."""
_EVERY_SECONDS: Final = 86_400
"""From midnight UTC on, which is morning there: the afternoon is the inversion's."""
_OFFSET, _DRIFT = (0.15, 1.2), (0.01, 0.08)
"""Of CO2 [umol mol-1] and CH4 [nmol mol-1], and each day's more: of an instrument that nobody calibrates, nothing."""
TANK_UNCERTAINTY: Final = {"co2": 0.02, "ch4": 0.4}
SCALES: Final = {"co2": "WMO CO2 X2019", "ch4": "WMO CH4 X2004A"}


@dataclass(frozen=True, slots=True)
class Site:
    """One simulated station; `heights` are its inlets above ground in m, lowest first."""

    name: str
    title: str
    latitude: float
    longitude: float
    altitude: float
    region: str
    heights: tuple[float, ...]
    trouble: Trouble = Trouble.NONE
    tanks: tuple[Tank, ...] = ()

    def inlet(self, height: float) -> str:
        """Return an inlet's name."""
        return f"{height:.0f}m"

    @property
    def operation(self) -> Operation | None:
        """Its cylinders each morning, twice in turn, and what its instrument shows too much; None where it has none."""
        if not self.tanks:
            return None
        turns = Round(tuple(tank.port for tank in self.tanks) * 2, _EVERY_SECONDS)
        held = {tank.port: (tank.co2, tank.ch4) for tank in self.tanks}
        return Operation(held, (turns,), offset=_OFFSET, drift=_DRIFT)

    def ports(self) -> dict[str, float]:
        """Return valve port -> inlet height in m."""
        return {str(number): height for number, height in enumerate(self.heights, start=1)}


SITES: Final = (
    Site("shangdianzi", "Shangdianzi", 40.65, 117.12, 293.0, "CN-BJ", (16.0, 80.0)),
    Site("xianghe", "Xianghe", 39.75, 116.96, 36.0, "CN-HE", (60.0, 102.0)),
    Site("tai-an", "Tai'an", 36.19, 117.09, 130.0, "CN-SD", (30.0, 80.0, 150.0), Trouble.BAD_LINK),
    Site("kaifeng", "Kaifeng", 34.80, 114.31, 75.0, "CN-HA", (40.0, 120.0)),
    Site("xuzhou", "Xuzhou", 34.26, 117.19, 41.0, "CN-JS", (30.0, 70.0, 140.0), Trouble.SPIKES),
    Site("shouxian", "Shouxian", 32.44, 116.79, 25.0, "CN-AH", (30.0, 100.0), tanks=TANKS),
    Site("lin-an", "Lin'an", 30.30, 119.73, 139.0, "CN-ZJ", (21.0, 55.0)),
    Site("wuhan", "Wuhan", 30.53, 114.36, 30.0, "CN-HB", (50.0, 130.0), Trouble.DRIFT),
)
"""Places that exist; the instruments, the air and every number measured there are simulated."""


def catalogue(sites: tuple[Site, ...] = SITES) -> dict[str, Any]:
    """Return the network as the document that ``skyledger catalog apply`` takes."""
    return {
        "station": [
            {
                "name": site.name,
                "title": f"{site.title} (simulated)",
                "latitude": site.latitude,
                "longitude": site.longitude,
                "altitude": site.altitude,
                "region": site.region,
                "inlet": [{"name": site.inlet(height), "height": height} for height in site.heights],
                "instrument": [
                    {
                        "name": INSTRUMENT,
                        "model": "Picarro G2301",
                        "serial": f"SIM-{number:03d}",
                        "driver": "picarro",
                        "port": [{"port": port, "inlet": site.inlet(height)} for port, height in site.ports().items()],
                    }
                ],
            }
            for number, site in enumerate(sites, start=1)
        ],
        "cylinder": [
            {
                "name": tank.name,
                "species": gas,
                "value": getattr(tank, gas),
                "uncertainty": TANK_UNCERTAINTY[gas],
                "scale": SCALES[gas],
            }
            for site in sites
            for tank in site.tanks
            for gas in SCALES
        ],
    }
