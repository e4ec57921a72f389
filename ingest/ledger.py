"""The ledger of flags by hand: rows are added, never changed; one that supersedes another takes its place."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from os import PathLike
from pathlib import Path
from typing import Any, Final

import psycopg

from ingest.database import Connection, connect
from ingest.errors import FileError, StoreError
from ingest.migrate import require_current
from qc.flags import Flag
from qc.units import SPECIES

FLAGS: Final = {"good": Flag.GOOD, "suspect": Flag.SUSPECT, "bad": Flag.BAD}
"""What may be said."""
_EARLIEST: Final = datetime(1900, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)
_UATAQ: Final = ("t_start", "t_end", "ID_old", "ID_new", "t_added", "name", "comment")
_NOTHING: Final = ("na", "")

_INSERT: Final = """
INSERT INTO manual_flag (author, reason, station_id, instrument_id, inlet_id, quantity, port, t_from, t_to, flag,
                         supersedes, made)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, coalesce(%s, now())) RETURNING id"""
_CORRECTION: Final = """
INSERT INTO cylinder_correction (author, reason, station_id, t_from, t_to, said, was, made)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"""
_SELECT: Final = """
SELECT f.id, f.made, f.author, f.reason, s.name, i.name, l.name, f.quantity, f.port, f.t_from, f.t_to, f.flag,
       f.supersedes, n.id
FROM manual_flag f JOIN station s ON s.id = f.station_id LEFT JOIN instrument i ON i.id = f.instrument_id
LEFT JOIN inlet l ON l.id = f.inlet_id LEFT JOIN manual_flag n ON n.supersedes = f.id
WHERE (%s::text IS NULL OR s.name = %s) AND f.t_from < %s AND f.t_to > %s ORDER BY f.id"""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the ledger; `superseded` is the row that took its place, None where it is in force."""

    number: int
    made: datetime
    author: str
    reason: str
    station: str
    instrument: str | None
    inlet: str | None
    gas: str | None
    port: str | None
    start: datetime
    end: datetime
    flag: Flag
    supersedes: int | None
    superseded: int | None

    @property
    def in_force(self) -> bool:
        """Whether it says anything still."""
        return self.superseded is None and self.flag is not Flag.NOT_EVALUATED


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is to be written down.

    Parameters
    ----------
    station
        Its name.
    start, end
        Aware; values at or after `start` and before `end`.
    flag
        Of `FLAGS`.
    author, reason
        Who, and why.
    instrument, inlet, gas, port
        Only these; None: all.
    made
        When it was decided; None: now.
    """

    station: str
    start: datetime
    end: datetime
    flag: str
    author: str
    reason: str
    instrument: str | None = None
    inlet: str | None = None
    gas: str | None = None
    port: str | None = None
    made: datetime | None = None


def add(dsn: str, decision: Decision, *, supersedes: int | None = None) -> int:
    """Write a decision down and return its number.

    Parameters
    ----------
    dsn
        The database.
    decision
        What is decided.
    supersedes
        Number of the row whose place it takes.

    Raises
    ------
    StoreError
        It names what is not in the catalogue, ends before it starts, has no author or reason, or supersedes a row that
        is none or has been superseded.
    """
    with connect(dsn) as conn:
        require_current(conn)
        with conn.transaction():
            return _add(conn, decision, supersedes)


def _add(conn: Connection, decision: Decision, supersedes: int | None = None) -> int:
    if decision.flag not in FLAGS:
        raise StoreError(f"flag {decision.flag!r} is none, expected one of {', '.join(FLAGS)}")
    if decision.gas is not None and decision.gas not in SPECIES:
        raise StoreError(f"gas {decision.gas!r} is none, expected one of {', '.join(SPECIES)}")
    _require_said(decision.author, decision.reason, decision.start, decision.end)
    station, instrument, inlet = _numbers(conn, decision)
    who_and_where = [decision.author, decision.reason, station, instrument, inlet, decision.gas, decision.port]
    window = [decision.start, decision.end, int(FLAGS[decision.flag])]
    return _insert(conn, [*who_and_where, *window, supersedes, decision.made])


def _require_said(author: str, reason: str, start: datetime, end: datetime) -> None:
    if not (author.strip() and reason.strip()):
        raise StoreError("a flag by hand needs an author and a reason, neither empty (--who, --why)")
    if not start < end:
        raise StoreError(f"window from {start} to {end} is empty: give its end after its start")


def _numbers(conn: Connection, decision: Decision) -> tuple[int, int | None, int | None]:
    row = conn.execute("SELECT id FROM station WHERE name = %s", [decision.station]).fetchone()
    if row is None:
        raise StoreError(f"station {decision.station!r} is not in the catalogue")
    found: list[int | None] = []
    for table, name in (("instrument", decision.instrument), ("inlet", decision.inlet)):
        if name is None:
            found.append(None)
            continue
        one = conn.execute(f"SELECT id FROM {table} WHERE station_id = %s AND name = %s", [row[0], name]).fetchone()  # noqa: S608
        if one is None:
            raise StoreError(f"{table} {name!r} of station {decision.station!r} is not in the catalogue")
        found.append(int(one[0]))
    return int(row[0]), found[0], found[1]


def _insert(conn: Connection, values: list[Any]) -> int:
    try:
        row = conn.execute(_INSERT, values).fetchone()
    except psycopg.errors.ForeignKeyViolation:
        raise StoreError(f"row {values[10]} of the ledger is none, so it cannot be superseded") from None
    except psycopg.errors.UniqueViolation:
        raise StoreError(f"row {values[10]} of the ledger is superseded already: supersede the row that did") from None
    assert row is not None
    return int(row[0])


def withdraw(dsn: str, number: int, *, author: str, reason: str) -> int:
    """Take a decision back: a row that supersedes it and says nothing; returns its number.

    Raises
    ------
    StoreError
        There is no such row, it has been superseded, or author or reason is empty.
    """
    with connect(dsn) as conn, conn.transaction():
        row = conn.execute(
            "SELECT station_id, instrument_id, inlet_id, quantity, port, t_from, t_to FROM manual_flag WHERE id = %s",
            [number],
        ).fetchone()
        if row is None:
            raise StoreError(f"row {number} of the ledger is none")
        _require_said(author, reason, row[5], row[6])
        return _insert(conn, [author, reason, *row, int(Flag.NOT_EVALUATED), number, None])


def rows(
    dsn: str,
    station: str | None = None,
    *,
    start: datetime = _EARLIEST,
    end: datetime = _LATEST,
) -> list[Row]:
    """Return the ledger, of one station or of all, as far as it touches a window of time."""
    with connect(dsn) as conn:
        return read(conn, station, start=start, end=end)


def read(conn: Connection, station: str | None, *, start: datetime, end: datetime) -> list[Row]:
    """Return the same on a connection."""
    found = conn.execute(_SELECT, [station, station, end, start])
    return [_row(values) for values in found]


def _row(values: tuple[Any, ...]) -> Row:
    *said, flag, supersedes, superseded = values
    number, made, author, reason, station, instrument, inlet, gas, port, first, until = said
    return Row(
        number, made, author, reason, station, instrument, inlet, gas, port, first, until,
        Flag(flag), supersedes, superseded,
    )  # fmt: skip


# --- UATAQ's ledger --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of a file: flags, corrections of cylinders, and a sentence for each row that says nothing clear."""

    flags: int = 0
    corrections: int = 0
    left_out: tuple[str, ...] = ()


def take_over_uataq(dsn: str, path: str | PathLike[str], *, station: str) -> Imported:
    """Take over a ledger as the University of Utah's UATAQ network keeps it, all of it or nothing.

    Its rows say that what is called ``ID_old`` is ``ID_new`` between two times: ``NA`` is bad data. ``all`` is every
    value; anything else is the label of a cylinder, kept as the port it stands for where it is bad, as a correction
    where it was another. A row that ends when it begins is of that second; one that ends before is left out
    and named.

    Parameters
    ----------
    dsn
        The database.
    path
        CSV with t_start, t_end, ID_old, ID_new, t_added, name, comment.
    station
        Whose it is.

    Raises
    ------
    FileError
        The file is none; with its line.
    StoreError
        The station is not in the catalogue.
    """
    path = Path(path)
    with connect(dsn) as conn:
        require_current(conn)
        with conn.transaction():
            flags = corrections = 0
            left_out: list[str] = []
            for line, row in _uataq_rows(path):
                start, end, added = (_moment(path, line, name, row[name]) for name in ("t_start", "t_end", "t_added"))
                if end < start:
                    left_out.append(f"{path}, line {line}: t_end {row['t_end']} is before t_start {row['t_start']}")
                    continue
                end = max(end, start + _SECOND)
                author, reason = row["name"].strip() or "unknown", row["comment"].strip() or "no comment"
                decision = Decision(
                    station=station, start=start, end=end, flag="bad", author=author, reason=reason,
                    port=None if row["ID_old"] == "all" else row["ID_old"], made=added,
                )  # fmt: skip
                if row["ID_new"].strip().casefold() in _NOTHING:
                    _add(conn, decision)
                    flags += 1
                else:
                    number, _, _ = _numbers(conn, decision)
                    said = [row["ID_old"], row["ID_new"], added]
                    conn.execute(_CORRECTION, [author, reason, number, start, end, *said])
                    corrections += 1
    return Imported(flags, corrections, tuple(left_out))


def _uataq_rows(path: Path) -> Iterable[tuple[int, dict[str, str]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = csv.reader(stream, strict=True)
            header = tuple(next(lines, []))
            if header != _UATAQ:
                raise FileError(f"{path}, line 1: columns {', '.join(header) or 'none'}; expected {', '.join(_UATAQ)}")
            for cells in lines:
                if len(cells) != len(header):
                    raise FileError(f"{path}, line {lines.line_num}: {len(cells)} cells, expected {len(header)}")
                yield lines.line_num, dict(zip(header, cells, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FileError(f"{path} cannot be read: {error}") from error


def _moment(path: Path, line: int, name: str, text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise FileError(f"{path}, line {line}: {name} is {text!r}, expected a time as 2026-03-01T00:00:00Z") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
