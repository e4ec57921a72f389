"""The configuration of one series: its station, inlet, instrument, gases, and what is tested how.

As TOML::

    station = "lin-an"
    inlet = "50m"
    inlet_height = 50.0            # m above ground
    latitude = 30.3
    longitude = 119.7
    altitude = 139.0               # m above sea level
    instrument = "g2301"
    model = "Picarro G2301"        # rules can be per model
    ports = ["1", "10"]            # left out: an instrument without a valve
    flush_seconds = 120            # after the valve reached a port
    port_flush_seconds = {"10" = 60}    # where a port needs another time
    outage_seconds = 900           # a longer gap is an outage: flushed again after it
    lag_seconds = 0                # the air's way from the inlet: a value's time is that much earlier
    clock = "suspect"              # what a value is whose time the station could not keep right; or "good"
    min_minutes = 5                # of a good hour

    [species.co2]
    scale = "WMO CO2 X2019"        # never guessed
    water = {model = "picarro_g2301"}
    range = {bad = [300, 1000], suspect = [380, 700]}
    min_values = 1                 # of a good minute
    u_cmr = 0.03                   # random error of a minute, umol mol-1
    u_shared = {ltr = 0.02, scale = 0.02}

      [species.co2.tests]          # of the minutes, each only where it is named: see `qc.screening`
      sd = {alpha = 1.0}           # spikes, noted ...
      rebs = {beta = 3.0}
      reject = "none"              # ... or "sd", "rebs": minutes these call spikes are suspect
      rate = {suspect = 20.0, bad = 100.0}
      flat_line = {tolerance = 1e-4, suspect_seconds = 1800, bad_seconds = 7200}
      attenuation = {window_seconds = 21600, suspect = 0.02}
      gap = {expected_seconds = 60, factor = 1.5}
      climatology = [{usual = [385, 520], months = [6, 7, 8]}, {usual = [395, 600]}]

      [species.co2.calibration]    # left out: the instrument's values are taken to be on the scale
      degree = 1                   # of the polynomial; 0: an offset
      stdev_minute = 0.08          # what spreads more is rejected
      stdev_injection = 0.06
      stdev_cycle = 0.05
      repeatability = 0.03         # of an injection, and drift after a day: what is known
      drift = 0.01                 # beforehand, while there are fewer than ten episodes

      [species.co2.selection]      # background or not: a companion of the hours, never a flag; see `qc.selection`
      like = "mauna loa"           # or each rule by itself
      rejected_sectors = [[150, 300]]

    [calibration]
    flush_seconds = 120            # after the valve reached a cylinder
    episode_hours = 12             # a longer time without a standard ends an episode
    reject_first = true            # the first cycle of an episode with several
    history_days = 180             # repeatability and drift are learnt from so much
      [[calibration.standard]]
      port = "3"
      cylinder = "D1234"
      start = 2026-01-01           # left out: always
      flush_seconds = 210          # where its gas needs another time
      [[calibration.target]]       # the same, and not used to calibrate
      port = "6"
      cylinder = "D5678"
      [[calibration.cylinder]]     # assigned values; several times: it may drift
      name = "D1234"
      species = "co2"
      value = 400.12
      uncertainty = 0.02
      time = 2025-11-03

    [[rule]]
    model = "Picarro*"
    quantity = "cavity_pressure_torr"
    min = 139.6
    max = 140.4

    [attributes]                   # taken over into every product
    institution = "..."

``water`` is ``{model = ...}``, ``{a = ..., b = ..., humidity = "h2o"}``, ``{method = "instrument"}`` (the
instrument's own dry value) or ``{method = "none"}`` (the air was dried).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from qc import cylinders, screening, selection
from qc.calibration import Plan, Standard
from qc.cylinders import Calibrating, Standards
from qc.document import Table, load
from qc.errors import ConfigError
from qc.flags import Flag
from qc.ranges import Range
from qc.screening import AFTER_SECONDS, Screening
from qc.selection import Rules
from qc.state import Basis, Rule, from_tables
from qc.tank import Tank
from qc.units import QUANTITIES, SPECIES
from qc.water import COEFFICIENTS


class Method(StrEnum):
    """Where the dry-air mole fraction comes from."""

    FORMULA = "formula"
    INSTRUMENT = "instrument"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Water:
    """How a gas is corrected for water vapour; see `qc.water`.

    Parameters
    ----------
    method
        Formula, the instrument's own dry value, or none (dried air).
    a, b
        Coefficients of the formula.
    humidity
        The quantity the formula wants.
    max_gap_seconds
        How far from a gas's own row a water value may be [s].
    """

    method: Method
    a: float = 0.0
    b: float = 0.0
    humidity: str = ""
    max_gap_seconds: float = 30.0

    def __str__(self) -> str:
        if self.method is Method.FORMULA:
            return f"wet / (1 {self.a:+g} h {self.b:+g} h^2), h = {self.humidity}"
        return "the instrument's own dry value" if self.method is Method.INSTRUMENT else "none, the air was dried"


@dataclass(frozen=True, slots=True)
class Gas:
    """What is done with one gas.

    Parameters
    ----------
    name
        As in `qc.units.SPECIES`.
    scale
        Calibration scale of its values.
    water
        Water correction.
    range
        Limits of the range test.
    min_values
        Fewest values of a good minute.
    u_cmr
        Random error of a one-minute mean [unit of the gas]; NaN: not known.
    shared
        (name, standard uncertainty) of the errors all values share [unit of the gas].
    tests
        Of its minutes.
    calibration
        How it is calibrated; None: not.
    selection
        Which hours are background; None: not asked.
    """

    name: str
    scale: str
    water: Water
    range: Range = field(default_factory=Range)
    min_values: int = 1
    u_cmr: float = float("nan")
    shared: tuple[tuple[str, float], ...] = ()
    tests: Screening = field(default_factory=Screening)
    calibration: Calibrating | None = None
    selection: Rules | None = None

    @property
    def u_shared(self) -> float:
        """Root of the sum of squares of the shared parts; NaN where none is known."""
        return float(np.sqrt(sum(u**2 for _, u in self.shared))) if self.shared else float("nan")


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration of one series (station, inlet); see the head of `qc.configuration`.

    Parameters
    ----------
    station, inlet, instrument, model
        Names.
    inlet_height, latitude, longitude, altitude
        m above ground, degrees north and east, m above sea level.
    gases
        The gases and what is done with each.
    ports
        The inlet's ports; empty for an instrument without a valve.
    flush_seconds
        Flushing time after the valve reached a port [s].
    port_flush_seconds
        (port, time) where it is another.
    outage_seconds
        A longer gap between two rows is an outage; after it the inlet is flushed again [s].
    min_minutes
        Fewest good minutes of a good hour.
    lag_seconds
        How long the air needs from the inlet to the instrument [s].
    clock
        Flag of values whose time the station could not keep right.
    rules
        Instrument-state rules in order.
    standards
        The cylinders.
    attributes
        (name, text) taken over into every product.
    """

    station: str
    inlet: str
    instrument: str
    inlet_height: float
    latitude: float
    longitude: float
    altitude: float
    gases: tuple[Gas, ...]
    model: str = ""
    ports: tuple[str, ...] = ()
    flush_seconds: float = 0.0
    port_flush_seconds: tuple[tuple[str, float], ...] = ()
    outage_seconds: float = 900.0
    min_minutes: int = 5
    lag_seconds: float = 0.0
    clock: Flag = Flag.SUSPECT
    rules: tuple[Rule, ...] = ()
    standards: Standards = field(default_factory=Standards)
    attributes: tuple[tuple[str, str], ...] = ()

    @classmethod
    def load(cls, path: str | Path) -> Config:
        """Return the configuration in a TOML file.

        Raises
        ------
        ConfigError
            With all faults at once.
        """
        return cls.from_dict(load(path), where=str(path))

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], *, where: str = "configuration") -> Config:
        """Return the configuration in a document.

        Raises
        ------
        ConfigError
            With all faults at once, each with its key path and, where a key is not known, the nearest one.
        """
        faults: list[str] = []
        config = _config(Table(document, where, faults))
        if faults:
            count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
            raise ConfigError(f"{where} has {count}:\n" + "\n".join(f"- {fault}" for fault in faults))
        return config

    @property
    def digest(self) -> str:
        """blake2b of the configuration's content, 32 hex digits; the same for the same content."""
        content = json.dumps(asdict(self), sort_keys=True, default=str, separators=(",", ":"))
        return blake2b(content.encode(), digest_size=16).hexdigest()

    @property
    def settings(self) -> dict[str, Any]:
        """All but the cylinders, as plain values."""
        plain = asdict(self)
        for name in ("standards", "targets", "cylinders"):
            del plain["standards"][name]
        return plain

    @property
    def hung(self) -> list[dict[str, Any]]:
        """Which cylinder hung where from when until when, and what it holds, as plain values."""
        holds: dict[str, list[Any]] = {}
        for name, species, rows in self.standards.cylinders:
            holds.setdefault(name, []).append([species, *([str(row.time), row.value, row.uncertainty] for row in rows)])
        return [
            {
                "as": role,
                "port": one.port,
                "cylinder": one.tank,
                "start": None if one.start is None else str(one.start),
                "end": None if one.end is None else str(one.end),
                "flush_seconds": one.flush_seconds,
                "holds": holds.get(one.tank, []),
            }
            for role, hung in (("standard", self.standards.standards), ("target", self.standards.targets))
            for one in hung
        ]

    @property
    def margin_seconds(self) -> float:
        """How much more of the readings, before and after, a piece of them needs to give what the whole gives [s]."""
        windows = [rule.window_seconds for rule in self.rules if rule.basis is Basis.VARIABILITY]
        gaps = [gas.water.max_gap_seconds for gas in self.gases]
        around = self.outage_seconds + max([*self.flushing.values(), self.flush_seconds, *windows, *gaps])
        return around + self.lag_seconds + (AFTER_SECONDS if self.screens else 0.0)

    @property
    def delay_seconds(self) -> float:
        """How long after a value the evaluation of it changes no more, but for a calibration that is still to come [s].

        The rest of its day, and what its minutes and rows are tested with. Late readings, flags by hand and other
        configurations are another matter: they are evaluated when they come.
        """
        return self.margin_seconds + (86_400.0 if self.screens else 3600.0) + 3600.0 * self.selection_hours

    @property
    def flushing(self) -> dict[str, float]:
        """Port -> flushing time [s]."""
        return dict.fromkeys(self.ports, self.flush_seconds) | dict(self.port_flush_seconds)

    @property
    def selection_hours(self) -> int:
        """How many hours on each side can change whether one is background; 0: that is not asked."""
        return max([gas.selection.reach_hours for gas in self.gases if gas.selection is not None], default=0)

    @property
    def screens(self) -> bool:
        """Whether minutes are tested: then what comes before is needed too (`qc.screening.BEFORE_DAYS`)."""
        return any(gas.tests for gas in self.gases)

    def tanks(self, gas: str, standards: tuple[Standard, ...]) -> list[Tank]:
        """Return those of some cylinders that have an assigned value of a gas, by name."""
        names = {standard.tank for standard in standards}
        held = {name: assigned for name, species, assigned in self.standards.cylinders if species == gas}
        return [Tank(name, held[name]) for name in sorted(names & held.keys())]

    def plan(self, gas: Gas, standards: tuple[Standard, ...]) -> Plan:
        """Return how some cylinders are measured for a gas."""
        assert gas.calibration is not None
        return Plan(
            standards,
            flush_seconds=self.standards.flush_seconds,
            episode_hours=self.standards.episode_hours,
            degree=gas.calibration.degree,
            reject_first=self.standards.reject_first,
            stdev_minute=gas.calibration.stdev_minute,
            stdev_injection=gas.calibration.stdev_injection,
            stdev_cycle=gas.calibration.stdev_cycle,
        )


def _config(table: Table) -> Config:
    species = table.table("species")
    config = Config(
        station=table.text("station"),
        inlet=table.text("inlet"),
        instrument=table.text("instrument"),
        inlet_height=table.number("inlet_height", low=0.0),
        latitude=table.number("latitude", low=-90.0, high=90.0),
        longitude=table.number("longitude", low=-180.0, high=360.0),
        altitude=table.number("altitude"),
        gases=tuple(_gas(species, name) for name in SPECIES if name in species),
        model=table.text("model", ""),
        ports=table.texts("ports"),
        flush_seconds=table.number("flush_seconds", 0.0, low=0.0),
        port_flush_seconds=table.numbers("port_flush_seconds", low=0.0),
        outage_seconds=table.number("outage_seconds", 900.0, low=0.0),
        min_minutes=table.count("min_minutes", 5),
        lag_seconds=table.number("lag_seconds", 0.0, low=0.0, high=3600.0),
        clock=Flag[table.text("clock", "suspect", among=("suspect", "good")).upper()],
        rules=from_tables(table.tables("rule")),
        standards=cylinders.standards(table.table("calibration", {})),
        attributes=_attributes(table.table("attributes", {})),
    )
    if "species" in table and not species.keys():
        table.fault("species", f"is empty, expected at least one of {', '.join(SPECIES)}")
    species.close(SPECIES)
    table.close()
    return config


def _gas(species: Table, name: str) -> Gas:
    table = species.table(name)
    limits = table.table("range", {})
    gas = Gas(
        name=name,
        scale=table.text("scale"),
        water=_water(table.table("water"), name),
        range=Range(bad=limits.pair("bad"), suspect=limits.pair("suspect")),
        min_values=table.count("min_values", 1),
        u_cmr=table.number("u_cmr", float("nan"), low=0.0),
        shared=table.numbers("u_shared", low=0.0),
        tests=screening.from_table(table.table("tests", {})),
        calibration=cylinders.calibrating(table.table("calibration")) if "calibration" in table else None,
        selection=selection.from_table(table.table("selection")) if "selection" in table else None,
    )
    limits.close()
    table.close()
    return gas


def _water(table: Table, gas: str) -> Water:
    gap = table.number("max_gap_seconds", 30.0, low=0.0)
    method = Method(table.text("method", "formula", among=list(Method)))
    if method is not Method.FORMULA:
        table.close()
        return Water(method, max_gap_seconds=gap)
    models = sorted(model for model, known in COEFFICIENTS if known == gas)
    model = table.text("model", None, among=models)
    if "model" in table:
        found = COEFFICIENTS.get((model, gas))
        a, b, humidity = (found.a, found.b, found.humidity) if found else (0.0, 0.0, "")
    else:
        if "a" not in table:
            table.fault("model", f"is missing: name one of {', '.join(models) or 'none'}, or give a, b, humidity")
        a, b = table.number("a", 0.0), table.number("b", 0.0)
        humidity = table.text("humidity", "h2o", among=[q for q in QUANTITIES if q.startswith("h2o")])
    table.close()
    return Water(method, a, b, humidity, gap)


def _attributes(table: Table) -> tuple[tuple[str, str], ...]:
    return tuple((name, table.text(name, "")) for name in sorted(table.keys()))
