"""A folder of backups: what is in it, what belongs together, and whether anything is missing between."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

from deploy import outputs
from deploy.errors import DeployError
from ingest.server import Server

STAMP: Final = "%Y-%m-%dT%H%M%S.%fZ"
PARTIAL: Final = ".partial"
MAKING, REMOVING = ".making", ".removing"
_SEGMENT: Final = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})(\.partial)?")
_HISTORY: Final = re.compile(r"([0-9A-F]{8})\.history")
_4_GIB: Final = 2**32


@dataclass(frozen=True, slots=True)
class Base:
    """A base backup.

    Parameters
    ----------
    folder : pathlib.Path
        A server's data directory, with its manifest.
    made : datetime
        When it was finished.
    timeline : int
        Of the server it is of.
    start, end : int
        Positions in the write-ahead log, byte: it is whole once the log between them is replayed.
    segment : int
        Size of a file of the log, byte.
    """

    folder: Path
    made: datetime
    timeline: int
    start: int
    end: int
    segment: int

    @property
    def name(self) -> str:
        """Its folder's name."""
        return self.folder.name

    @classmethod
    def read(cls, folder: Path, made: datetime) -> Base:
        """Read what its manifest says.

        Raises
        ------
        DeployError
            Where that cannot be read.
        """
        try:
            (span,) = json.loads((folder / "backup_manifest").read_bytes())["WAL-Ranges"]
            (size,) = {path.stat().st_size for path in (folder / "pg_wal").iterdir() if _SEGMENT.fullmatch(path.name)}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DeployError(f"{folder} is no base backup that can be read: {error}; remove it") from error
        return cls(folder, made, int(span["Timeline"]), _position(span["Start-LSN"]), _position(span["End-LSN"]), size)


@dataclass(frozen=True, slots=True)
class Chain:
    """The log that follows a base backup without a gap.

    Parameters
    ----------
    timeline : int
        The one it ends in.
    files : int
        How many files of the stream it takes; 0 where there is no stream.
    last : str
        Name of the last of them.
    """

    timeline: int
    files: int
    last: str


class Folder:
    """A folder of backups, which is one server's.

    Parameters
    ----------
    path : pathlib.Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.bases_in = self.path / "base"
        self.logs_in = self.path / "wal"

    def claim(self, server: Server) -> None:
        """Make the folder if it is not there, and let it be this server's.

        Raises
        ------
        DeployError
            Where it is another server's.
        """
        outputs.folder(self.path)
        mark = self.path / "system"
        try:
            for folder in (self.bases_in, self.logs_in):  # who reads them reads everything the server holds
                folder.mkdir(mode=0o700, exist_ok=True)
            if not mark.exists():
                draft = self.path / "system.draft"
                draft.write_text(server.system + "\n")
                draft.replace(mark)
        except OSError as error:
            raise DeployError(f"{self.path} cannot be written: {error.strerror}; run as its owner") from error
        if (other := mark.read_text().strip()) != server.system:
            raise DeployError(
                f"{self.path} holds backups of another server (its identifier {other}, this one's {server.system}): "
                "give a folder of its own"
            )

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """Keep others from doing the same here meanwhile.

        Raises
        ------
        DeployError
            Where somebody does already.
        """
        with (self.path / f".{what}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DeployError(f"a `skyledger db {what}` works in {self.path} already: let it end first") from None
            yield

    # --- base backups

    def bases(self) -> list[Base]:
        """Return the finished base backups, oldest first."""
        found = []
        for folder in self.bases_in.iterdir() if self.bases_in.is_dir() else ():
            try:
                made = datetime.strptime(folder.name, STAMP).replace(tzinfo=UTC)
            except ValueError:
                continue
            found.append(Base.read(folder, made))
        return sorted(found, key=lambda base: base.made)

    def sweep(self) -> None:
        """Remove what an earlier run that was ended left half made or half removed."""
        for folder in self.bases_in.glob(".*"):
            if folder.name.startswith((MAKING, REMOVING)):
                _end(folder)
                shutil.rmtree(folder, ignore_errors=True)

    def prune(self, keep: int) -> tuple[int, int]:
        """Remove all but the newest base backups, and the log only the others needed; returns how many of each."""
        bases = self.bases()
        old, kept = bases[:-keep], bases[-keep:]
        for base in old:
            going = base.folder.rename(self.bases_in / f"{REMOVING}-{base.name}")
            shutil.rmtree(going)
        first = min(kept, key=lambda base: base.start)
        files = [
            path for path, _, number in self._log(first.segment) if number < first.start // first.segment
        ]  # the history of timelines stays: it is small
        for path in files:
            path.unlink()
        return len(old), len(files)

    # --- the stream

    def log(self, timeline: int) -> Path:
        """Folder of a timeline's log."""
        return self.logs_in / f"{timeline:08X}"

    def streamed(self) -> datetime | None:
        """Return when the stream last wrote, None where there is none."""
        times = [path.stat().st_mtime for path in self.logs_in.glob("*/*") if _SEGMENT.fullmatch(path.name)]
        return datetime.fromtimestamp(max(times), UTC) if times else None

    def _log(self, segment: int) -> Iterator[tuple[Path, int, int]]:
        """Yield files of the log with their timeline and number, the unfinished among them."""
        for path in sorted(self.logs_in.glob("*/*")):
            if match := _SEGMENT.fullmatch(path.name):
                high, low = int(match[2], 16), int(match[3], 16)
                yield path, int(match[1], 16), high * (_4_GIB // segment) + low

    def chain(self, base: Base) -> Chain:
        """Return the log that follows a base backup, through later restores if its stream went on.

        Raises
        ------
        DeployError
            Where a file is missing with others after it: what is in those could not be restored, and is not passed over
            in silence.
        """
        there: dict[int, dict[int, Path]] = {}
        for path, timeline, number in self._log(base.segment):
            there.setdefault(timeline, {})[number] = path
        timeline, number, files, last = base.timeline, base.end // base.segment, 0, ""
        for until, following in [*self._switches(base, max(there, default=0)), (None, None)]:
            mine = there.get(timeline, {})
            while number in mine and (until is None or number < until):
                files, last, number = files + 1, mine[number].name, number + 1
            if until is None or following is None:
                break
            if number < until:  # the log of the old timeline ends before the new one begins
                _refuse(base, timeline, number, there[following])
            timeline = following
        beyond = {n: path for n, path in there.get(timeline, {}).items() if n > number}
        if beyond:
            _refuse(base, timeline, number, beyond)
        return Chain(timeline, files, last)

    def _switches(self, base: Base, newest: int) -> list[tuple[int, int]]:
        """Return after which number which timeline follows, from the base backup's on.

        Raises
        ------
        DeployError
            Where the newest is no descendant of the base backup's timeline, or it is not known.
        """
        if newest <= base.timeline:
            return []
        path = self.log(newest) / f"{newest:08X}.history"
        rows = [line.split()[:2] for line in (path.read_text().splitlines() if path.exists() else ()) if line.strip()]
        ends = {int(timeline): _position(end) for timeline, end in rows}
        if base.timeline not in ends or ends[base.timeline] < base.end:
            raise DeployError(
                f"the stream goes on with timeline {newest}, which does not follow from the backup {base.name}: "
                f"choose another backup, or move {self.log(newest)} away to restore what was before it"
            )
        order = [*sorted(timeline for timeline in ends if timeline >= base.timeline), newest]
        return [(ends[old] // base.segment, new) for old, new in pairwise(order)]


def _end(draft: Path) -> None:
    """End the half of ``pg_basebackup`` that goes on where the other, and who started it, was killed."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if str(draft).encode() in entry.read_bytes().split(b"\0"):
                os.kill(int(entry.parent.name), signal.SIGTERM)


def _refuse(base: Base, timeline: int, number: int, beyond: dict[int, Path]) -> None:
    per = _4_GIB // base.segment
    name = f"{timeline:08X}{number // per:08X}{number % per:08X}"
    after = beyond[min(beyond)]
    raise DeployError(
        f"the log after the backup {base.name} has a gap: {name} is missing, and {after.name} and what follows could "
        f"not be restored; find that file, choose another backup with --backup, or move {after.parent} away to restore "
        "what was before the gap"
    )


def _position(text: str) -> int:
    high, low = text.split("/")
    return int(high, 16) * _4_GIB + int(low, 16)
