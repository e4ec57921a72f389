"""A seeded instrument that does not exist: CO2, CH4 and water vapour as a station sees them.

Sample k stands at ``k * interval`` since 1970 and is a function of the seed and k alone, so a simulation that is
interrupted, or runs twice, gives the same samples. It has a daily cycle, slow weather, white noise and spikes, and
where the configuration asks for them a drift, the effect of water, standards from cylinders, and outages::

    driver = "simulated"
    ports = ["1", "2"]
    co2_drift = 0.02                     # umol mol-1 a day
    water = true
    outages = { every = 86400, lasts = 900 }
    [instrument.calibration]
    every = 43200
    standards = [{ port = "11", co2 = 400.0, ch4 = 1900.0 }, { port = "12", co2 = 450.0, ch4 = 2100.0 }]
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from station_agent.keys import Key, read_table
from station_agent.sample import Sample

DAY_S: Final = 86_400.0
STATUS: Final = 963
"""The status word of an instrument that is well."""
CAVITY_PRESSURE: Final = 186.65
"""hPa; 140 torr."""
CAVITY_TEMPERATURE: Final = 45.0
"""degC."""

KEYS: Final[Mapping[str, Key]] = {
    "seed": Key(int, 1, least=0, most=2**31),
    "interval": Key(float, 1.0, least=0.001, most=3600.0),
    "start": Key(str, ""),
    "samples": Key(int, None, least=1),
    "co2": Key(float, 425.0, least=0.0, most=10_000.0),
    "ch4": Key(float, 1980.0, least=0.0, most=1_000_000.0),
    "h2o": Key(float, 1.2, least=0.0, most=10.0),
    "co2_noise": Key(float, 0.03, least=0.0, most=1000.0),
    "ch4_noise": Key(float, 0.3, least=0.0, most=10_000.0),
    "spike_probability": Key(float, 0.001, least=0.0, most=1.0),
    "ports": Key(list, default=(), least=1, most=64),
    "dwell": Key(float, 300.0, least=1.0, most=DAY_S),
    "co2_drift": Key(float, 0.0, least=-1000.0, most=1000.0),
    "ch4_drift": Key(float, 0.0, least=-10_000.0, most=10_000.0),
    "drift_period": Key(float, 30.0, least=0.01, most=3650.0),
    "water": Key(bool, default=False),
    "calibration": Key(dict),
    "outages": Key(dict),
}
"""The keys of an instrument with this driver.

``interval`` and ``dwell`` in s; ``start`` an ISO time in UTC (samples since then come at once, the rest as they fall
due), without it the simulation starts when it is first run; ``samples`` ends it; ``co2``, ``ch4``, ``h2o`` are the
background in umol mol-1, nmol mol-1 and %; noise is the standard deviation of one sample. The drift is per day; every
``drift_period`` days it begins anew, from as far below the truth as it ends above it. With ``water``, ``co2`` and
``ch4`` are what an analyser sees in moist air, and its ``h2o_reported``, ``co2_dry`` and ``ch4_dry`` stand beside them.
"""
CALIBRATION_KEYS: Final[Mapping[str, Key]] = {
    "every": Key(float, DAY_S, least=1.0, most=100 * DAY_S),
    "dwell": Key(float, 600.0, least=1.0, most=DAY_S),
    "cycles": Key(int, 1, least=1, most=100),
    "flush": Key(float, 20.0, least=0.1, most=3600.0),
    "standards": Key(list, default=(), required=True, least=1, most=20),
}
"""Every ``every`` s (since 1970) each standard flows for ``dwell`` s, ``cycles`` times over; where the gas changes,
what was there before is flushed out with the time constant ``flush`` (s)."""
STANDARD_KEYS: Final[Mapping[str, Key]] = {
    "port": Key(str, "", required=True, least=1, most=64),
    "co2": Key(float, 0.0, required=True, least=0.0, most=100_000.0),
    "ch4": Key(float, 0.0, required=True, least=0.0, most=10_000_000.0),
    "h2o": Key(float, 0.0, least=0.0, most=10.0),
}
"""Port, and what the cylinder was assigned: dry mole fractions in the units of the background."""
OUTAGE_KEYS: Final[Mapping[str, Key]] = {
    "every": Key(float, 0.0, required=True, least=2.0, most=100 * DAY_S),
    "lasts": Key(float, 0.0, required=True, least=1.0, most=100 * DAY_S),
}
"""Somewhere in every ``every`` s there is no sample for ``lasts`` s."""
CO2_WATER: Final = (-0.012, -2.674e-4)
CH4_WATER: Final = (-0.00982, -2.393e-4)
"""a, b of ``wet = dry * (1 + a h + b h²)``, h the reported water in % (a Picarro G2301's)."""
H2O_REPORTED: Final = (0.772, 0.019493)
"""p, q of ``h2o = p h + q h²``."""

Gas = tuple[float, float, float]
"""CO2 and CH4 dry, and water."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """When which standard flows; times in ns, ``flush`` in s."""

    every_ns: int
    dwell_ns: int
    flush: float
    sequence: tuple[tuple[str, Gas], ...]
    """(port, what flows) of each step."""


@dataclass(frozen=True, slots=True)
class Outages:
    """How often there is no sample, and how long; ns."""

    every_ns: int
    lasts_ns: int


@dataclass(frozen=True, slots=True)
class Settings:
    """What the configuration says about the simulation."""

    seed: int
    interval_ns: int
    start_ns: int | None
    samples: int | None
    background: tuple[float, float, float]
    noise: tuple[float, float]
    spike_probability: float
    ports: tuple[str, ...]
    dwell_ns: int
    drift: tuple[float, float]
    """Of CO2 and CH4, per day."""
    drift_period: float
    """Days."""
    water: bool
    calibration: Calibration | None
    outages: Outages | None


def read_settings(options: Mapping[str, Any], *, where: str, faults: list[str]) -> Settings:
    """Return the settings in an instrument's table; what is wrong is appended to `faults`."""
    table = read_table(options, KEYS, where=where, faults=faults)
    ports = table["ports"]
    if not all(isinstance(port, str) and port.isprintable() and 0 < len(port) <= 64 for port in ports):
        faults.append(f"{where}.ports: expected texts of 1 to 64 printable characters")
        ports = ()
    return Settings(
        seed=table["seed"],
        interval_ns=round(table["interval"] * 1000) * 1_000_000,
        start_ns=_start(table["start"], where=f"{where}.start", faults=faults),
        samples=table["samples"],
        background=(table["co2"], table["ch4"], table["h2o"]),
        noise=(table["co2_noise"], table["ch4_noise"]),
        spike_probability=table["spike_probability"],
        ports=tuple(ports),
        dwell_ns=round(table["dwell"] * 1e9),
        drift=(table["co2_drift"], table["ch4_drift"]),
        drift_period=table["drift_period"],
        water=table["water"],
        calibration=_calibration(table["calibration"], where=f"{where}.calibration", faults=faults),
        outages=_outages(table["outages"], where=f"{where}.outages", faults=faults),
    )


def _calibration(options: Mapping[str, Any] | None, *, where: str, faults: list[str]) -> Calibration | None:
    if options is None:
        return None
    table = read_table(options, CALIBRATION_KEYS, where=where, faults=faults)
    standards = [
        read_table(standard, STANDARD_KEYS, where=f"{where}.standards[{number}]", faults=faults)
        for number, standard in enumerate(table["standards"], 1)
    ]
    flows = tuple((entry["port"], (entry["co2"], entry["ch4"], entry["h2o"])) for entry in standards)
    sequence = flows * table["cycles"]
    lasts = table["dwell"] * len(sequence)
    if lasts >= table["every"]:
        faults.append(f"{where}.every: got {table['every']}, expected more than the {lasts} s that the sequence lasts")
    return Calibration(round(table["every"] * 1e9), round(table["dwell"] * 1e9), table["flush"], sequence)


def _outages(options: Mapping[str, Any] | None, *, where: str, faults: list[str]) -> Outages | None:
    if options is None:
        return None
    table = read_table(options, OUTAGE_KEYS, where=where, faults=faults)
    if table["lasts"] >= table["every"] > 0:
        faults.append(f"{where}.lasts: got {table['lasts']}, expected less than every, {table['every']}")
    return Outages(round(table["every"] * 1e9), round(table["lasts"] * 1e9))


def _start(text: str, *, where: str, faults: list[str]) -> int | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        faults.append(f"{where}: got {text[:60]!r}, expected a time like 2026-01-01T00:00:00Z")
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return round(moment.timestamp()) * 1_000_000_000


def sample(settings: Settings, k: int) -> Sample:
    """Return sample `k`: a function of the seed and k, nothing else."""
    # The numbers of a simulation have nothing to guard.
    draw = random.Random(settings.seed * 1_000_000_007 + k)  # noqa: S311
    time_ns = k * settings.interval_ns
    spike = draw.expovariate(1.0) if draw.random() < settings.spike_probability else 0.0
    port, (co2, ch4, h2o) = _flowing(settings, time_ns, spike)
    h2o = max(0.0, h2o)
    drifted = (time_ns / 1e9 / DAY_S) % settings.drift_period - settings.drift_period / 2
    co2 += settings.drift[0] * drifted
    ch4 += settings.drift[1] * drifted
    noise = draw.gauss(0.0, settings.noise[0]), draw.gauss(0.0, settings.noise[1])
    measured = {"co2": co2 + noise[0], "ch4": ch4 + noise[1], "h2o": max(0.0, h2o + draw.gauss(0.0, 0.002))}
    if settings.water:
        measured = _moist(measured)
    values = {
        **measured,
        "cavity_pressure": CAVITY_PRESSURE + draw.gauss(0.0, 0.02),
        "cavity_temperature": CAVITY_TEMPERATURE + draw.gauss(0.0, 0.005),
    }
    return Sample(time_ns, values, port, STATUS)


def silent(settings: Settings, k: int) -> bool:
    """Return whether sample `k` falls into an outage."""
    outages = settings.outages
    if outages is None:
        return False
    window, at = divmod(k * settings.interval_ns, outages.every_ns)
    begins = _outage(settings.seed, window, outages.every_ns - outages.lasts_ns)
    return begins <= at < begins + outages.lasts_ns


@lru_cache(maxsize=16)
def _outage(seed: int, window: int, latest_ns: int) -> int:
    """Return when in its window an outage begins, ns."""
    return random.Random(f"outage {seed} {window}").randint(0, latest_ns)  # noqa: S311


def _air(settings: Settings, time_ns: int, spike: float) -> Gas:
    """Return what the inlets draw in."""
    day = 2 * math.pi * (time_ns / 1e9 / DAY_S)
    weather = math.sin(day / 5.3 + settings.seed) + 0.5 * math.sin(day / 2.1 + 2 * settings.seed)
    night = max(0.0, math.cos(day)) ** 2
    co2, ch4, h2o = settings.background
    return (
        co2 + 12.0 * night + 4.0 * weather + 25.0 * spike,
        ch4 + 60.0 * night + 25.0 * weather + 120.0 * spike,
        h2o * (1.0 + 0.2 * weather),
    )


def _flowing(settings: Settings, time_ns: int, spike: float) -> tuple[str | None, Gas]:
    """Return the port that is open and the gas in the cell: air or a standard, and what it has to flush out."""
    ports, calibration = settings.ports, settings.calibration
    inlet = ports[time_ns // settings.dwell_ns % len(ports)] if ports else None
    air = _air(settings, time_ns, spike)
    if calibration is None:
        return inlet, air
    within = time_ns % calibration.every_ns
    step = within // calibration.dwell_ns
    sequence = calibration.sequence
    port, gas = sequence[step] if step < len(sequence) else (inlet, air)
    before = sequence[min(step, len(sequence)) - 1][1] if step else air
    left = math.exp(-(within - min(step, len(sequence)) * calibration.dwell_ns) / 1e9 / calibration.flush)
    co2, ch4, h2o = (new + (old - new) * left for new, old in zip(gas, before, strict=True))
    return port, (co2, ch4, h2o)


def _moist(dry: Mapping[str, float]) -> dict[str, float]:
    """Return what an analyser sees of this air, with the dry values it reckons itself."""
    p, q = H2O_REPORTED
    reported = (math.sqrt(p * p + 4 * q * dry["h2o"]) - p) / (2 * q)
    wet = {name: 1 + a * reported + b * reported**2 for name, (a, b) in (("co2", CO2_WATER), ("ch4", CH4_WATER))}
    return {
        "co2": dry["co2"] * wet["co2"],
        "ch4": dry["ch4"] * wet["ch4"],
        "h2o": dry["h2o"],
        "h2o_reported": reported,
        "co2_dry": dry["co2"],
        "ch4_dry": dry["ch4"],
    }


class Simulator:
    """The simulation in time: which samples are due.

    Parameters
    ----------
    settings
        What is simulated.
    state
        What `state` gave when it stopped, or None for a new simulation.
    """

    def __init__(self, settings: Settings, state: Mapping[str, Any] | None = None) -> None:
        self.settings = settings
        self._next: int | None = state["next"] if state else None
        self.left: int | None = state["left"] if state else settings.samples
        """Samples still to come, None where there is no end."""

    def take(self, now_ns: int, *, most: int) -> Sequence[Sample]:
        """Return up to `most` samples whose time has come; those that an outage swallowed count too."""
        interval = self.settings.interval_ns
        if self._next is None:
            start = self.settings.start_ns if self.settings.start_ns is not None else now_ns
            self._next = -(-start // interval)
        due = min(now_ns // interval - self._next + 1, most)
        count = max(0, due if self.left is None else min(due, self.left))
        numbers = range(self._next, self._next + count)
        taken = [sample(self.settings, k) for k in numbers if not silent(self.settings, k)]
        self._next += count
        if self.left is not None:
            self.left -= count
        return taken

    def state(self) -> dict[str, Any]:
        """Return what goes on where this simulation is."""
        return {"next": self._next, "left": self.left}
