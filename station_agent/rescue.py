"""A damaged spool: set aside, and what can still be read of it carried over into a new one.

Frozen batches whose digest is right are carried over as they are: same bytes, same spool id and number, so the server
knows them whatever it was told before. New batches are frozen under the new spool's id.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final

from station_agent import lock
from station_agent.errors import SpoolDamagedError, SpoolError
from station_agent.reading import Notice
from station_agent.sample import Sample
from station_agent.spool import Spool
from station_agent.spool_file import unpack
from station_agent.wire import Kind, digest

COLUMNS: Final = "digest, spool, seq, instrument, kind, samples, frozen_ms, payload"
PARTS: Final = ("", "-wal", "-shm")


@dataclass(slots=True)
class Salvage:
    """What could be read of a damaged spool: batches (rows of its table), pending samples, positions."""

    batches: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    pending: dict[str, list[Sample]] = field(default_factory=dict)
    positions: list[tuple[str, str, str]] = field(default_factory=list)


def open_spool(path: Path, *, station: str, samples: int, report_to: str) -> Spool:
    """Open the spool; where its file is damaged, set it aside and go on with a new one that has what could be read.

    Parameters
    ----------
    path, station, samples
        As `Spool`.
    report_to
        The instrument whose event ``spool_set_aside`` says what happened.

    Raises
    ------
    SpoolError
        As `Spool`, and where the damaged file cannot be renamed.
    """
    _finish(path)
    try:
        return Spool(path, station=station, samples=samples)
    except SpoolDamagedError as error:
        set_aside(path, str(error), station=station, samples=samples, report_to=report_to)
    return Spool(path, station=station, samples=samples)


def set_aside(
    path: Path,
    reason: str,
    *,
    station: str,
    samples: int,
    report_to: str,
    on_step: Callable[[str], object] = lambda _step: None,
) -> None:
    """Put a new spool in the place of a damaged one, which must be closed; pulling the plug anywhere loses nothing.

    The new one is made complete beside it, then the old one is renamed, then the new one. `on_step` is called with
    the name of each step of `STEPS`: where a test pulls the plug.
    """
    held = lock.take(path)  # nobody may open it in between
    try:
        found = salvage(path)
        on_step("rescue: read")
        _make(path, found, reason, station=station, samples=samples, report_to=report_to)
        on_step("rescue: made")
        _finish(path, on_step=on_step)
    finally:
        lock.release(held)


STEPS: Final = tuple(f"rescue: {step}" for step in ("read", "made", "log renamed", "renamed", "replaced"))


def _make(path: Path, found: Salvage, reason: str, *, station: str, samples: int, report_to: str) -> None:
    """Make the new spool under another name; under ``.new`` it is complete."""
    draft = path.with_name(path.name + ".draft")
    for part in (*PARTS, ".lock"):
        draft.with_name(draft.name + part).unlink(missing_ok=True)
    detail = {
        "file": _aside(path).name,
        "reason": reason,
        "batches": len(found.batches),
        "samples": sum(row[5] for row in found.batches.values()) + sum(map(len, found.pending.values())),
    }
    with Spool(draft, station=station, samples=samples) as spool:
        spool.adopt([found.batches[number] for number in sorted(found.batches)], found.pending, found.positions)
        spool.report(report_to, Notice("spool_set_aside", time.time_ns(), detail))
    draft.with_name(draft.name + ".lock").unlink()
    draft.rename(path.with_name(path.name + ".new"))


def _finish(path: Path, *, on_step: Callable[[str], object] = lambda _step: None) -> None:
    """Put a complete new spool in its place, also where an earlier attempt was interrupted."""
    new, aside = path.with_name(path.name + ".new"), _aside(path)
    if not new.exists():
        return
    try:
        # The log first: beside the new file it would be taken for the new file's.
        for part in reversed(PARTS):
            source = path.with_name(path.name + part)
            if source.exists():
                source.rename(aside.with_name(aside.name + part))
            on_step("rescue: renamed" if part == "" else "rescue: log renamed")
        new.rename(path)
    except OSError as error:
        raise SpoolError(
            f"{path}: the damaged spool cannot be set aside: {error.strerror}; check who may write to its folder"
        ) from None
    on_step("rescue: replaced")


def _aside(path: Path) -> Path:
    """Return the name for a damaged file: the first that is not taken."""
    return next(name for n in count(1) if not (name := path.with_name(f"{path.name}.damaged-{n}")).exists())


def salvage(path: Path) -> Salvage:
    """Return what can be read of a damaged spool; what cannot be is passed over."""
    found = Salvage()
    with suppress(sqlite3.Error, OSError), closing(sqlite3.connect(path, isolation_level=None)) as db:
        for order in ("", "DESC"):  # from both ends: a bad page in the middle hides the rest of one walk only
            for row in _readable(db, f"SELECT id, {COLUMNS} FROM batch ORDER BY id {order}"):  # noqa: S608 - our words
                if _sound(row[1:]):
                    found.batches[row[0]] = tuple(row[1:])
        for name, packed in _readable(db, "SELECT instrument, samples FROM pending ORDER BY id"):
            with suppress(ValueError, TypeError):
                samples = unpack(packed)
                if isinstance(name, str):
                    found.pending.setdefault(name, []).extend(samples)
        for row in _readable(db, "SELECT instrument, file, state FROM position"):
            with suppress(ValueError, TypeError):
                if isinstance(json.loads(row[2]), dict) and isinstance(row[0], str) and isinstance(row[1], str):
                    found.positions.append(row)
    return found


def _readable(db: sqlite3.Connection, sql: str) -> Iterator[tuple[Any, ...]]:
    """Yield rows up to the first that cannot be read."""
    with suppress(sqlite3.Error):
        yield from db.execute(sql)


def _sound(row: tuple[Any, ...]) -> bool:
    """Whether a row is a batch as it was frozen."""
    key, spool, seq, name, kind, samples, frozen_ms, payload = row
    texts = all(isinstance(value, str) for value in (key, name, spool)) and kind in (Kind.DATA.value, Kind.EVENT.value)
    numbers = all(isinstance(value, int) for value in (seq, samples, frozen_ms))
    return texts and numbers and isinstance(payload, bytes) and digest(payload) == key
