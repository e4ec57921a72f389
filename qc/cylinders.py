"""The cylinders of an instrument as configuration: what hangs where, what it holds, how a gas is calibrated by them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qc.calibration import Standard
from qc.document import Table
from qc.tank import Assignment
from qc.units import SPECIES

_EPOCH = np.datetime64("1970-01-01", "ns")
"""When a value was assigned that does not say."""


@dataclass(frozen=True, slots=True)
class Calibrating:
    """How one gas is calibrated; see `qc.calibration`.

    Parameters
    ----------
    degree
        Of the polynomial.
    stdev_minute, stdev_injection, stdev_cycle
        Largest spreads of rows, minutes, injections; NaN: no limit [unit of the gas].
    repeatability, drift
        What is known beforehand; NaN: nothing [unit of the gas].
    """

    degree: int = 1
    stdev_minute: float = float("nan")
    stdev_injection: float = float("nan")
    stdev_cycle: float = float("nan")
    repeatability: float = float("nan")
    drift: float = float("nan")


@dataclass(frozen=True, slots=True)
class Standards:
    """The cylinders at an instrument, and how they are measured.

    Parameters
    ----------
    standards, targets
        Which cylinder hangs where and when.
    cylinders
        (name, gas, assignments) of what they hold.
    flush_seconds, episode_hours, reject_first
        See `qc.calibration.Plan`.
    history_days
        See `qc.calibration.fit`.
    """

    standards: tuple[Standard, ...] = ()
    targets: tuple[Standard, ...] = ()
    cylinders: tuple[tuple[str, str, tuple[Assignment, ...]], ...] = ()
    flush_seconds: float = 120.0
    episode_hours: float = 12.0
    reject_first: bool = True
    history_days: float = 180.0


def calibrating(table: Table) -> Calibrating:
    """Return how a gas is calibrated; faults go to the table's own list."""
    degree = table.count("degree", 1, low=0)
    if degree > 2:
        table.fault("degree", f"is {degree}, expected 0, 1 or 2")
    names = ("stdev_minute", "stdev_injection", "stdev_cycle", "repeatability", "drift")
    found = Calibrating(degree, *(table.number(name, float("nan"), low=0.0) for name in names))
    table.close()
    return found


def standards(table: Table) -> Standards:
    """Return the cylinders of a configuration; faults go to the table's own list."""
    hung, targets = (tuple(_standard(entry) for entry in table.tables(key)) for key in ("standard", "target"))
    assigned: dict[tuple[str, str], list[Assignment]] = {}
    for entry in table.tables("cylinder"):
        name, species = entry.text("name"), entry.text("species", among=SPECIES)
        time = entry.moment("time")
        value, u = entry.number("value"), entry.number("uncertainty", low=1e-12)
        if None not in (name, species, value, u):
            assigned.setdefault((name, species), []).append(Assignment(_EPOCH if time is None else time, value, u))
        entry.close()
    names = {name for name, _ in assigned}
    for standard in (*hung, *targets):
        if standard.tank and standard.tank not in names:
            table.fault("cylinder", f"has no assigned value of {standard.tank!r}, which hangs at port {standard.port}")
    found = Standards(
        hung,
        targets,
        cylinders=tuple((name, species, tuple(rows)) for (name, species), rows in sorted(assigned.items())),
        flush_seconds=table.number("flush_seconds", 120.0, low=0.0),
        episode_hours=table.number("episode_hours", 12.0, low=0.1),
        reject_first=table.flag("reject_first", True),
        history_days=table.number("history_days", 180.0, low=1.0),
    )
    table.close()
    return found


def _standard(table: Table) -> Standard:
    found = Standard(
        table.text("port"),
        table.text("cylinder"),
        table.moment("start"),
        table.moment("end"),
        table.number("flush_seconds", None, low=0.0),
    )
    if found.start is not None and found.end is not None and not found.start < found.end:
        table.fault("end", "is not after start")
    table.close()
    return found
