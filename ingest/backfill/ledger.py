"""What has been filled in: each file by its digest, how far it has come, what became of its values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from ingest.database import Connection
from ingest.decode import clean
from ingest.errors import FileError, StoreError
from ingest.reading import Written

_BEGIN: Final = """
INSERT INTO backfill (digest, file, station, target, format) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (digest, station, target) DO UPDATE SET file = excluded.file
RETURNING id, messages, finished, rows_new, rows_same, rows_aside"""
_AGAIN: Final = """
UPDATE backfill SET messages = 0, rows_new = 0, rows_same = 0, rows_aside = 0, finished = NULL WHERE id = %s"""
_REMEMBER: Final = "UPDATE backfill SET messages = %s, rows_new = %s, rows_same = %s, rows_aside = %s WHERE id = %s"
_REPLACED: Final = "INSERT INTO replacement (backfill_id, who, why, first, until) VALUES (%s, %s, %s, %s, %s)"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a file takes the place of what is there: who says so, and why.

    Raises
    ------
    StoreError
        Where either is empty.
    """

    who: str
    why: str

    def __post_init__(self) -> None:
        if not (self.who.strip() and self.why.strip()):
            raise StoreError("replacing needs who does it and why, neither empty (--who, --why)")


@dataclass(frozen=True, slots=True)
class Filled:
    """What became of one file.

    Parameters
    ----------
    file, station, target, format
        Which, of what (instrument or inlet), as what.
    samples
        Samples, or intervals of an archive, in it.
    messages
        Messages it makes.
    written
        Values: new, there already, kept aside.
    rejected
        Lines no sample could be made of; they are kept aside as events.
    before
        When it had been filled in before, so that nothing was done.
    replaced
        Values that stood in the window it took the place of.
    """

    file: str
    station: str
    target: str
    format: str
    samples: int = 0
    messages: int = 0
    written: Written = field(default_factory=Written)
    rejected: int = 0
    before: datetime | None = None
    replaced: int = 0


Progress = Callable[[int, int], None]
"""Called with values and samples so far."""


@dataclass(frozen=True, slots=True)
class Entry:
    """How far a file has come, as the database knows it."""

    number: int
    messages: int
    finished: datetime | None
    written: Written


def begin(conn: Connection, digest: bytes, file: Filled, *, again: bool) -> Entry:
    """Return where a file stands; one that is new, or done and to be done again, at its beginning."""
    row = conn.execute(_BEGIN, [digest, clean(file.file), file.station, file.target, file.format]).fetchone()
    assert row is not None
    if row[2] is None or not again:
        return Entry(row[0], row[1], row[2], Written(*row[3:]))
    conn.execute(_AGAIN, [row[0]])
    return Entry(row[0], 0, None, Written())


def remember(conn: Connection, number: int, messages: int, written: Written) -> None:
    """Note how far a file has come."""
    conn.execute(_REMEMBER, [messages, written.new, written.same, written.aside, number])


def replaced(conn: Connection, number: int, reason: Reason, window: tuple[datetime, datetime]) -> None:
    """Note what a file takes the place of, within the caller's transaction; `applied` says once that is so."""
    conn.execute(_REPLACED, [number, clean(reason.who), clean(reason.why), *window])


def unapplied(conn: Connection, number: int) -> list[tuple[datetime, datetime]]:
    """Return the windows of a file's replacements that were not brought to their end."""
    query = "SELECT first, until FROM replacement WHERE backfill_id = %s AND applied IS NULL ORDER BY id"
    return [(first, until) for first, until in conn.execute(query, [number])]


def applied(conn: Connection, number: int) -> None:
    """Note that a file's replacements are whole."""
    conn.execute("UPDATE replacement SET applied = now() WHERE backfill_id = %s AND applied IS NULL", [number])


def finish(conn: Connection, number: int) -> None:
    """Note that a file is done."""
    conn.execute("UPDATE backfill SET finished = now() WHERE id = %s", [number])


def digest_of(path: Path) -> bytes:
    """Return a file's digest.

    Raises
    ------
    FileError
        It cannot be read.
    """
    found = blake2b(digest_size=16)
    try:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                found.update(block)
    except OSError as error:
        raise unreadable(path, error) from error
    return found.digest()


def unreadable(path: Path, error: Any) -> FileError:
    """Return the error that says that a file cannot be read."""
    return FileError(f"{path} cannot be read: {error.strerror or error}")
