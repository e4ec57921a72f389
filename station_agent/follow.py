"""Following an instrument's files: which there are, which have grown, and what became of those that were rotated.

A file is known by what was last read of it (a digest of up to 1 KiB before the position), so that

- new files are read in the order of their names, the last one as it grows;
- a file renamed in its folder (``x.dat`` to ``x.dat.1``) is read to its end, and the new ``x.dat`` from its start;
- a restored or synchronised file with another inode is not read again;
- a file that was written anew or cut is read from its start.

The positions are plain JSON and are stored with the samples, in one transaction.
"""

from __future__ import annotations

import glob
import logging
import os
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, Final

from station_agent.drivers import make_parser
from station_agent.drivers.lines import BLOCK, LineStream, Parsed

KNOWN_BY: Final = 1024
"""Bytes before the position a file is known by."""
SETTLED_S: Final = 60.0
"""Seconds without a change after which a file that has a successor is taken to be complete."""
MOST_ABSENT: Final = 1000
"""Files that are gone and still known, at most: 41 days of hourly ones. One that comes back after being forgotten is
read again, and the server has its samples already."""
RESCAN_S: Final = 10.0
"""Seconds between looks at the whole folder; the file that is followed is looked at each time."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Position:
    """Where the reading of one file stands.

    Parameters
    ----------
    offset, line
        Bytes and lines read.
    digest
        Of the up to 1 KiB before `offset`.
    inode
        When last read; how a renamed file is found again.
    skipping
        The reading stands inside a line that was too long.
    parser
        The parser's state, None at the beginning of a file.
    driver
        Whose parser that is.
    """

    offset: int = 0
    line: int = 0
    digest: str = ""
    inode: int = 0
    skipping: bool = False
    parser: Mapping[str, Any] | None = None
    driver: str = ""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What was read in one go from one file.

    Parameters
    ----------
    file
        Name of the file, without its folder.
    parsed
        Samples and rejected lines.
    positions
        File -> where it stands now (None: forget it); to be stored together with what was read.
    """

    file: str
    parsed: Parsed
    positions: Mapping[str, dict[str, Any] | None] = field(default_factory=dict)


class Follower:
    """The files of one instrument.

    Parameters
    ----------
    pattern
        Glob of the files.
    driver, options
        Of the parser each file gets.
    positions
        What was stored of earlier reading.
    clock
        s since 1970, as the files' times of modification.
    monotonic
        s; says when to look at the folder again.
    """

    def __init__(
        self,
        pattern: str,
        *,
        driver: str,
        options: Mapping[str, Any],
        positions: Mapping[str, Mapping[str, Any]],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pattern = pattern
        self._root = _fixed_part(pattern)
        self._driver, self._options = driver, options
        self._clock, self._monotonic = clock, monotonic
        ours = {name: state for name, state in positions.items() if state.get("driver") == driver}
        self._positions = {name: Position(**state) for name, state in ours.items()}
        # What another driver has read of the files means nothing to this one: it reads them from their start.
        self._moved: dict[str, Position | None] = dict.fromkeys({*positions} - {*ours})
        self._paths: dict[str, Path] = {}
        self._strays: dict[str, Path] = {}
        self._seen: dict[str, tuple[int, int, int]] = {}
        self._unfinished: dict[str, int] = {}
        self._unread: list[str] = []
        self._last = ""
        self._scanned = float("-inf")
        self._absent: set[str] = set()
        self._complained: set[str] = set()

    @property
    def unfinished(self) -> Mapping[str, int]:
        """File -> bytes after its last line end, where there are any."""
        return dict(self._unfinished)

    def read(self, *, rescan: bool = False) -> Chunk | None:
        """Return what the next file with something new says, or None where nothing is new.

        Parameters
        ----------
        rescan
            Look at the whole folder now.
        """
        if not self._unread:
            self._look(rescan=rescan)
        while self._unread:
            chunk = self._read_from(self._unread[0])
            if chunk is not None:
                return chunk
            self._unread.pop(0)
        # What a file is called now must be known after a restart, though nothing was read of it.
        return self._chunk("", Parsed()) if self._moved else None

    # --- which files -------------------------------------------------------------------------

    def _look(self, *, rescan: bool) -> None:
        """Note which files may have something new."""
        now = self._monotonic()
        whole = rescan or not self._last or now - self._scanned >= RESCAN_S
        if whole:
            self._scanned = now
            found = {self._name(path): Path(path) for path in glob.glob(self._pattern)}  # noqa: PTH207 - pathlib globs from a folder only
            self._last = max(found, default="")
            self._paths = dict(sorted({**self._strays, **found}.items()))
        fresh = {}
        for name in self._paths if whole else [self._last]:
            status = _status(self._paths[name])
            if status is None:
                self._strays.pop(name, None)
            elif self._seen.get(name) != _signature(status) or (name in self._unfinished and name != self._last):
                fresh[name] = status
        self._identify(fresh)
        self._forget()
        self._unread = sorted({*fresh, *self._strays} & set(self._paths))

    def _forget(self) -> None:
        """Forget files that are gone, the first by name, where there are very many."""
        gone = sorted({*self._positions} - {*self._paths})
        for name in gone[: max(0, len(gone) - MOST_ABSENT)]:
            del self._positions[name]
            self._moved[name] = None
            self._seen.pop(name, None)
            self._absent.discard(name)

    def _identify(self, fresh: Mapping[str, os.stat_result]) -> None:
        """Find the position of each file by what was last read of it, whatever it is called now."""
        before = dict(self._positions)
        taken = self._recognise(fresh)
        for name, other in taken.items():
            if other is None:
                if name in before:
                    log.info("%s: holds other data than before; it is read from its start", self._paths[name])
                self._positions[name] = Position(driver=self._driver)
                continue
            self._move(name, before[other])
            if other not in self._paths:
                self._positions.pop(other)
                self._moved[other] = None
        # A successor may begin as what was read of the file before it: a header. Only the inode tells them apart.
        replaced = [
            name
            for name, status in fresh.items()
            if name in before and before[name].offset and before[name].inode != status.st_ino
        ]
        for name in replaced:
            self._move(name, replace(self._positions[name], inode=fresh[name].st_ino))
        absent = {*before} - {*self._paths}
        vanished, self._absent = absent - self._absent, absent
        lost = ({*taken, *replaced} & {*before} | vanished) - {*taken.values()}
        self._find_strays(before[name] for name in lost)

    def _recognise(self, fresh: Mapping[str, os.stat_result]) -> dict[str, str | None]:
        """Return the files that are not what was read under their name -> what they were called then, None: new."""
        by_inode: dict[int, list[str]] = {}
        for name, position in self._positions.items():
            by_inode.setdefault(position.inode, []).append(name)
        taken: dict[str, str | None] = {}
        for name, status in fresh.items():
            path, known = self._paths[name], self._positions.get(name)
            if known is None or not _file_fits(path, known):
                others = (other for other in by_inode.get(status.st_ino, ()) if other != name)
                taken[name] = next((other for other in others if _file_fits(path, self._positions[other])), None)
        return taken

    def _find_strays(self, lost: Iterable[Position]) -> None:
        """Look for files that were renamed to what the pattern does not match, before they were read to their end."""
        wanted: dict[int, list[Position]] = {}
        for position in lost:  # an inode is given to another file once its own is deleted
            wanted.setdefault(position.inode, []).append(position)
        if not wanted:
            return
        folder = (self._paths[self._last] if self._last else Path(self._pattern)).parent
        try:
            entries = [entry for entry in os.scandir(folder) if entry.inode() in wanted]
        except OSError:
            return
        for entry in entries:
            name, path = self._name(entry.path), Path(entry.path)
            if name in self._paths:
                continue
            known = self._positions.get(name)
            if known is None or not _file_fits(path, known):
                fitting = [position for position in wanted[entry.inode()] if _file_fits(path, position)]
                if not fitting:
                    continue
                self._move(name, max(fitting, key=lambda position: position.offset))
            self._strays[name] = self._paths[name] = path

    def _move(self, name: str, position: Position) -> None:
        """Take a position for a file, to be stored with the next chunk."""
        self._positions[name] = self._moved[name] = position

    def _name(self, path: str) -> str:
        """Return what a file is called in the spool: relative, and text whatever the bytes of its name."""
        return os.fsencode(os.path.relpath(path, self._root)).decode("utf-8", "backslashreplace")

    # --- reading -----------------------------------------------------------------------------

    def _read_from(self, name: str) -> Chunk | None:
        path = self._paths[name]
        try:
            with path.open("rb") as file:
                return self._read_block(name, path, file)
        except OSError as error:
            if name not in self._complained:
                self._complained.add(name)
                log.warning("%s: cannot be read: %s; it is tried again", path, error.strerror)
            return None

    def _read_block(self, name: str, path: Path, file: BinaryIO) -> Chunk | None:
        status = os.fstat(file.fileno())
        position = self._positions.get(name, Position())
        if not _fits(file, position):
            position = Position()  # written anew since it was looked at
        stream = self._stream(position)
        file.seek(position.offset)
        data = file.read(BLOCK)
        used, parsed = stream.feed(data)
        if data and not used and name != self._last and self._clock() - status.st_mtime > SETTLED_S:
            used, parsed = len(data), stream.finish(data)
        if not used:
            self._done(name, status, len(data))
            return None
        offset = position.offset + used
        reached = Position(
            offset=offset,
            line=stream.line,
            digest=_digest_before(file, offset),
            inode=status.st_ino,
            skipping=stream.skipping,
            parser=stream.parser.state(),
            driver=self._driver,
        )
        self._move(name, reached)
        return self._chunk(path.name, parsed)

    def _chunk(self, file: str, parsed: Parsed) -> Chunk:
        moved, self._moved = self._moved, {}
        return Chunk(file, parsed, {name: asdict(position) if position else None for name, position in moved.items()})

    def _done(self, name: str, status: os.stat_result, left: int) -> None:
        """Note that a file has been read as far as it goes."""
        self._seen[name] = _signature(status)
        self._unfinished.pop(name, None)
        self._complained.discard(name)
        if left:
            self._unfinished[name] = left
        elif name in self._strays and self._clock() - status.st_mtime > SETTLED_S:
            del self._strays[name]

    def _stream(self, position: Position) -> LineStream:
        parser = make_parser(self._driver, self._options)
        if position.parser is not None:
            parser.restore(dict(position.parser))
        return LineStream(parser, line=position.line, skipping=position.skipping)


def _fixed_part(pattern: str) -> str:
    """Return the folder of a glob up to its first wildcard."""
    parts = Path(pattern).parent.parts
    wild = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return str(Path(*parts[:wild]))


def _status(path: Path) -> os.stat_result | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _signature(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _digest_before(file: BinaryIO, offset: int) -> str:
    file.seek(max(0, offset - KNOWN_BY))
    return blake2b(file.read(min(offset, KNOWN_BY)), digest_size=16).hexdigest()


def _fits(file: BinaryIO, position: Position) -> bool:
    """Whether the file has, before the position, what was read there."""
    return position.offset == 0 or _digest_before(file, position.offset) == position.digest


def _file_fits(path: Path, position: Position) -> bool:
    try:
        with path.open("rb") as file:
            return _fits(file, position)
    except OSError:
        return False
