"""A simulated Picarro G2301: writes log files in the maker's format from a known mole fraction.

Rows repeat what is not their own, as the real instrument's do: CO2 is new where ``species`` is 1,
CH4 where it is 2, water and the dry values where it is 3. Files rotate every hour.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np

from deploy.demo.network import Trouble
from deploy.demo.operation import Operation
from qc.water import COEFFICIENTS

COLUMNS: Final = (
    "DATE", "TIME", "FRAC_DAYS_SINCE_JAN1", "FRAC_HRS_SINCE_JAN1", "JULIAN_DAYS", "EPOCH_TIME", "ALARM_STATUS",
    "INST_STATUS", "CavityPressure", "CavityTemp", "species", "MPVPosition", "CH4", "CH4_dry", "CO2", "CO2_dry", "H2O",
    "h2o_reported",
)  # fmt: skip
WIDTH: Final = 26
STATUS: Final = 963
CELL_TORR: Final = 140.0
CELL_DEGC: Final = 45.0
SPIKES_PER_DAY: Final = 12
DRIFT_FROM: Final = 0.55
"""Share of the record after which the drifting instrument's cell pressure leaves its set point."""


@dataclass(frozen=True, slots=True)
class Air:
    """What one station's inlets hold, hour by hour or in shorter steps.

    Parameters
    ----------
    start
        Begin of the first step, a whole hour, seconds since 1970 UTC.
    co2, ch4
        Dry mole fractions, shape (step, inlet), in umol mol-1 and nmol mol-1.
    water
        Shape (step,), % (10-2 mol mol-1).
    step_seconds
        Length of a step, which goes into an hour a whole number of times.
    """

    start: int
    co2: np.ndarray
    ch4: np.ndarray
    water: np.ndarray
    step_seconds: int = 3600

    @property
    def hours(self) -> int:
        """How long the record is, whole hours."""
        return len(self.water) * self.step_seconds // 3600


@dataclass(frozen=True, slots=True)
class Instrument:
    """How the simulated analyser behaves: a row every `row_seconds`, an inlet every `dwell_seconds`."""

    serial: str
    ports: tuple[str, ...]
    trouble: Trouble = Trouble.NONE
    row_seconds: float = 5.0
    dwell_seconds: int = 600
    noise_co2: float = 0.03
    noise_ch4: float = 0.3
    operation: Operation | None = None
    """Cylinders, drift and pollution; None: it measures air, rightly."""

    def write(self, air: Air, directory: Path, rng: np.random.Generator) -> int:
        """Write the hourly log files of a record; returns the number of rows.

        Parameters
        ----------
        air
            The truth to be measured.
        directory
            Where the files go; made if absent.
        rng
            Noise, spikes and the broken line.
        """
        directory.mkdir(parents=True, exist_ok=True)
        rows = self._measure(air, rng)
        hour = ((rows["epoch"] - air.start) // 3600).astype(int)
        edges = np.searchsorted(hour, np.arange(air.hours + 1))
        cut_short = int(rng.integers(len(edges) - 1)) if self.trouble is Trouble.BAD_LINK else -1
        for number, (first, last) in enumerate(pairwise(edges)):
            name = datetime.fromtimestamp(air.start + 3600 * number, UTC).strftime("%Y%m%d-%H%M%S")
            lines = list(_lines(rows[first:last]))
            if number == cut_short:
                # The power failed while this line was written; the next row follows it.
                lines[len(lines) // 2] = lines[len(lines) // 2][: WIDTH * 9].rstrip()
            text = "\r\n".join(["".join(f"{c:<{WIDTH}}" for c in COLUMNS), *lines, ""])
            (directory / f"DataLog_User_{self.serial}-{name}Z.dat").write_text(text, encoding="ascii", newline="")
        return len(rows)

    def _measure(self, air: Air, rng: np.random.Generator) -> np.ndarray:
        count = int(air.hours * 3600 / self.row_seconds) // 3 * 3
        rows = np.zeros(count, dtype=[(n, "f8") for n in _FIELDS])
        # A row keeps its place in the cycle but not to the millisecond, as in the real files.
        rows["epoch"] = air.start + self.row_seconds * (np.arange(count) + 0.5) + rng.uniform(-0.2, 0.2, count)
        rows["species"] = np.tile([1.0, 2.0, 3.0], count // 3)
        since = rows["epoch"] - air.start
        step = np.minimum((since // air.step_seconds).astype(int), len(air.water) - 1)
        port = (since // self.dwell_seconds).astype(int) % len(self.ports)
        rows["port"] = np.array([float(p) for p in self.ports])[port]
        rows["pressure"] = CELL_TORR + rng.normal(0.0, 0.03, count)
        rows["temperature"] = CELL_DEGC + rng.normal(0.0, 0.002, count)
        rows["h_reported"] = np.repeat(air.water[step[::3]] * (1 + rng.normal(0, 0.01, count // 3)), 3)
        noise = np.stack([rng.normal(0.0, self.noise_co2, count), rng.normal(0.0, self.noise_ch4, count) / 1000])
        rows["co2_true"] = air.co2[step, port] + noise[0]
        rows["ch4_true"] = air.ch4[step, port] / 1000 + noise[1]
        if self.operation is not None:
            self.operation.apply(rows, since, noise, rng, dwell_seconds=self.dwell_seconds)
        self._trouble(rows, rng)
        return _as_reported(rows)

    def _trouble(self, rows: np.ndarray, rng: np.random.Generator) -> None:
        if self.trouble is Trouble.DRIFT:
            # The pressure controller fails: the cell drifts by 4 torr, the mole fractions with it.
            share = np.clip((np.arange(len(rows)) / len(rows) - DRIFT_FROM) / (1 - DRIFT_FROM), 0, 1)
            rows["pressure"] += 4.0 * share
            rows["co2_true"] *= rows["pressure"] / CELL_TORR
            rows["ch4_true"] *= rows["pressure"] / CELL_TORR
        elif self.trouble is Trouble.SPIKES:
            days = (rows["epoch"][-1] - rows["epoch"][0]) / 86400
            at = rng.integers(0, len(rows) - 9, int(SPIKES_PER_DAY * days))
            for first, length, height in zip(
                at, rng.integers(3, 9, len(at)), rng.uniform(20, 80, len(at)), strict=True
            ):
                rows["ch4_true"][first : first + length] += height
                rows["co2_true"][first : first + length] += 100 * height


_FIELDS: Final = ("epoch", "species", "port", "pressure", "temperature", "h_reported", "co2_true", "ch4_true", "co2",
                  "ch4", "co2_dry", "ch4_dry", "h2o")  # fmt: skip


def _held(values: np.ndarray, species: int) -> np.ndarray:
    """Repeat each value until the species' next own row, as the instrument does."""
    own = np.repeat(values[species - 1 :: 3], 3)
    return np.concatenate([np.full(species - 1, own[0]), own])[: len(values)]


def _as_reported(rows: np.ndarray) -> np.ndarray:
    water = _held(rows["h_reported"], 3)
    # What water the sample held at a gas's own row: between the readings before and after it.
    after = np.concatenate([water[3:], water[-3:]])
    h = np.where(rows["species"] == 3, water, (water + after) / 2)
    for gas, species in (("co2", 1), ("ch4", 2)):
        c = COEFFICIENTS["picarro_g2301", gas]
        wet = rows[f"{gas}_true"] * (1 + c.a * h + c.b * h**2)
        rows[gas] = _held(wet, species)
        rows[f"{gas}_dry"] = _held(rows[f"{gas}_true"], species)
    rows["h_reported"] = water
    rows["h2o"] = 0.772 * water + 0.019493 * water**2
    return rows


_ROW: Final = "%-26s%-26s%-26.8f%-26.6f%-26.8f%-26.3f%-26s%-26s" + "%-26.10E" * 10


def _lines(rows: np.ndarray) -> Iterator[str]:
    for r in rows:
        moment = datetime.fromtimestamp(r["epoch"], UTC)
        days = (moment - datetime(moment.year, 1, 1, tzinfo=UTC)).total_seconds() / 86400
        yield _ROW % (
            moment.strftime("%Y-%m-%d"), moment.strftime("%H:%M:%S.%f")[:-3], days, 24 * days, days + 1, r["epoch"],
            "0", str(STATUS), r["pressure"], r["temperature"], r["species"], r["port"], r["ch4"], r["ch4_dry"],
            r["co2"], r["co2_dry"], r["h2o"], r["h_reported"],
        )  # fmt: skip
