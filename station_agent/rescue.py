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
from station_agent.errors import SpoolDamagedError, SpoolUnwritableError, WireError
from station_agent.reading import Notice
from station_agent.sample import Sample
from station_agent.spool import Spool
from station_agent.spool_file import unpack
from station_agent.wire import NAME, Kind, check_name, digest

COLUMNS: Final = "digest, spool, seq, instrument, kind, samples, frozen_ms, payload"
PARTS: Final = ("", "-wal", "-shm")


@dataclass(slots=True)
class Salvage:
    """What could be read of a damaged spool: batches (rows of its table), pending samples, positions."""

    batches: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    pending: dict[str, list[Sample]] = field(default_factory=dict)
    positions: list[tuple[str, str, str]] = field(default_factory=list)
    lost_samples: int = 0
    """Given up for the quota, as far as that can be read."""
    incomplete: list[str] = field(default_factory=list)
    """Tables that could not be read to the end, or had rows that are not ours."""

    def note(self, table: str) -> None:
        """Note a table of which something is missing."""
        if table not in self.incomplete:
            self.incomplete.append(table)


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
    if _ready(path).exists():  # an earlier attempt was interrupted
        held = lock.take(path)
        try:
            _finish(path)
        finally:
            lock.release(held)
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
        "incomplete": found.incomplete,
    }
    with Spool(draft, station=station, samples=samples) as spool:
        batches = [found.batches[number] for number in sorted(found.batches)]
        spool.adopt(batches, found.pending, found.positions, lost_samples=found.lost_samples)
        spool.report(report_to, Notice("spool_set_aside", time.time_ns(), detail))
    draft.with_name(draft.name + ".lock").unlink()
    draft.rename(_ready(path))


def _finish(path: Path, *, on_step: Callable[[str], object] = lambda _step: None) -> None:
    """Put a complete new spool in its place, also where an earlier attempt was interrupted; the lock is held."""
    new, aside = _ready(path), _aside(path)
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
        raise SpoolUnwritableError(
            f"{path}: the damaged spool cannot be set aside: {error.strerror}; check who may write to its folder"
        ) from None
    on_step("rescue: replaced")


def _ready(path: Path) -> Path:
    """Return the name under which a new spool is complete."""
    return path.with_name(path.name + ".new")


def _aside(path: Path) -> Path:
    """Return the name for a damaged file: the first that is not taken."""
    return next(name for n in count(1) if not (name := path.with_name(f"{path.name}.damaged-{n}")).exists())


def salvage(path: Path) -> Salvage:
    """Return what can be read of a damaged spool; what cannot be is passed over, and its table named."""
    found = Salvage()
    with suppress(sqlite3.Error, OSError), closing(sqlite3.connect(path, isolation_level=None)) as db:
        for order in ("", "DESC"):  # from both ends: a bad page in the middle hides the rest of one walk only
            for row in _readable(db, found, "batch", f"id, {COLUMNS}", f"id {order}"):
                if _sound(row[1:]):
                    found.batches[row[0]] = tuple(row[1:])
                else:
                    found.note("batch")
        for name, packed in _readable(db, found, "pending", "instrument, samples", "id"):
            try:
                found.pending.setdefault(check_name(name, what="instrument"), []).extend(unpack(packed))
            except (ValueError, TypeError, WireError):
                found.note("pending")
        for row in _readable(db, found, "position", "instrument, file, state", "instrument, file"):
            if _is_position(row):
                found.positions.append(row)
            else:
                found.note("position")
        for key, value in _readable(db, found, "meta", "key, value", "key"):
            if key == "lost_samples" and str(value).isdigit():
                found.lost_samples = int(value)
    return found


def _readable(
    db: sqlite3.Connection, found: Salvage, table: str, columns: str, order: str
) -> Iterator[tuple[Any, ...]]:
    """Yield rows up to the first that cannot be read."""
    try:
        yield from db.execute(f"SELECT {columns} FROM {table} ORDER BY {order}")  # noqa: S608 - our own words
    except sqlite3.Error:
        found.note(table)


def _is_position(row: tuple[Any, ...]) -> bool:
    name, file, state = row
    try:
        return isinstance(json.loads(state), dict) and isinstance(name, str) and isinstance(file, str)
    except (ValueError, TypeError):
        return False


def _sound(row: tuple[Any, ...]) -> bool:
    """Whether a row is a batch as it was frozen."""
    key, spool, seq, name, kind, samples, frozen_ms, payload = row
    texts = (
        all(isinstance(value, str) for value in (key, name, spool))
        and NAME.fullmatch(name)
        and kind in (Kind.DATA.value, Kind.EVENT.value)
    )
    numbers = all(isinstance(value, int) for value in (seq, samples, frozen_ms))
    return bool(texts) and numbers and isinstance(payload, bytes) and digest(payload) == key
