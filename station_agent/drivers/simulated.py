"""A seeded instrument that does not exist: CO2, CH4 and water vapour as a station sees them.

Sample k stands at ``k * interval`` since 1970 and is a function of the seed and k alone, so a simulation that is
interrupted, or runs twice, gives the same samples. It has a daily cycle, slow weather, white noise and spikes.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
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
}
"""The keys of an instrument with this driver.

``interval`` and ``dwell`` in s; ``start`` an ISO time in UTC (samples since then come at once, the rest as they fall
due), without it the simulation starts when it is first run; ``samples`` ends it; ``co2``, ``ch4``, ``h2o`` are the
background in umol mol-1, nmol mol-1 and %; noise is the standard deviation of one sample.
"""


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
    )


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
    day = 2 * math.pi * (time_ns / 1e9 / DAY_S)
    weather = math.sin(day / 5.3 + settings.seed) + 0.5 * math.sin(day / 2.1 + 2 * settings.seed)
    night = max(0.0, math.cos(day)) ** 2
    spike = draw.expovariate(1.0) if draw.random() < settings.spike_probability else 0.0
    co2, ch4, h2o = settings.background
    values = {
        "co2": co2 + 12.0 * night + 4.0 * weather + draw.gauss(0.0, settings.noise[0]) + 25.0 * spike,
        "ch4": ch4 + 60.0 * night + 25.0 * weather + draw.gauss(0.0, settings.noise[1]) + 120.0 * spike,
        "h2o": max(0.0, h2o * (1.0 + 0.2 * weather) + draw.gauss(0.0, 0.002)),
        "cavity_pressure": CAVITY_PRESSURE + draw.gauss(0.0, 0.02),
        "cavity_temperature": CAVITY_TEMPERATURE + draw.gauss(0.0, 0.005),
    }
    ports = settings.ports
    port = ports[time_ns // settings.dwell_ns % len(ports)] if ports else None
    return Sample(time_ns, values, port, STATUS)


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
        """Return up to `most` samples whose time has come."""
        interval = self.settings.interval_ns
        if self._next is None:
            start = self.settings.start_ns if self.settings.start_ns is not None else now_ns
            self._next = -(-start // interval)
        due = min(now_ns // interval - self._next + 1, most)
        count = max(0, due if self.left is None else min(due, self.left))
        taken = [sample(self.settings, k) for k in range(self._next, self._next + count)]
        self._next += count
        if self.left is not None:
            self.left -= count
        return taken

    def state(self) -> dict[str, Any]:
        """Return what goes on where this simulation is."""
        return {"next": self._next, "left": self.left}
