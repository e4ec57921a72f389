"""A base backup: a copy of the whole server while it works, verified, and only then the old ones removed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from deploy.errors import DeployError
from deploy.jobs.backup import programs
from deploy.jobs.backup.folder import MAKING, STAMP, Base, Folder
from ingest import server

_NAME: Final = "skyledger_backup"
_PAUSE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How it is made.

    Parameters
    ----------
    keep : int, optional
        How many base backups stay; None: all of them.
    rate : int, optional
        Read at most so many MB a second; None: as fast as it goes.
    programs : pathlib.Path, optional
        Folder of PostgreSQL's programs; default: looked for.
    """

    keep: int | None = None
    rate: int | None = None
    programs: Path | None = None


def backup(dsn: str, folder: Folder, settings: Settings) -> Iterator[str]:
    """Copy the server a database is on, verify the copy, remove old ones; yields a sentence about each.

    Reads the whole server once, writes as much, and reads that again to verify it. What is written meanwhile is copied
    beside it, so that a backup is whole without the stream too. It is made under another name and renamed when it is
    verified: ended anywhere, or on a full disk, it leaves nothing.

    Parameters
    ----------
    dsn : str
        A database of the server, as a user who may copy it.
    folder : Folder
    settings : Settings

    Raises
    ------
    StoreError
        The server cannot be reached or copied.
    DeployError
        The folder is another server's, PostgreSQL's programs are missing, or they failed.
    """
    if settings.keep is not None and settings.keep < 1:
        raise DeployError(f"--keep {settings.keep}: expected 1 or more")
    if server.starting(dsn):
        yield "the server is starting, and lets nobody in yet: waiting for it"
        while server.starting(dsn):
            time.sleep(_PAUSE_S)
    one = server.identify(dsn)
    server.require_one_place(dsn)
    tools = programs.find(one.major, settings.programs)
    folder.claim(one)
    with folder.alone("backup"):
        folder.sweep()
        base = _make(dsn, folder, tools, rate=settings.rate)
        yield f"{base.folder}: {_size(base.folder) / 1e6:,.0f} MB, verified"
        try:
            yield _covered(folder, base)
        except DeployError as error:  # the backup itself is whole
            yield str(error)
        if settings.keep is not None:
            bases, files = folder.prune(settings.keep)
            yield f"{bases} older backups and {files} files of the log before them were removed; {settings.keep} stay"


def _make(dsn: str, folder: Folder, tools: programs.Programs, *, rate: int | None) -> Base:
    draft = folder.bases_in / f"{MAKING}-{os.getpid()}"
    words = ["pg_basebackup", "--pgdata", str(draft), "--format=plain", "--wal-method=stream", "--checkpoint=fast"]
    words += ["--no-password", *([] if rate is None else [f"--max-rate={rate}M"])]
    try:
        tools.run(words, env=programs.environment(dsn, name=_NAME))
        verify(draft, tools)
        made = datetime.now(UTC)
        base = Base.read(draft, made)
        final = folder.bases_in / made.strftime(STAMP)
        draft.rename(final)
        _flush(folder.bases_in)
    except OSError as error:
        raise DeployError(f"{draft} cannot be written: {error.strerror}; nothing was changed") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Base(final, made, base.timeline, base.start, base.end, base.segment)


def verify(folder: Path, tools: programs.Programs) -> None:
    """Hold a base backup to its manifest: every file, its size and checksum, and its log.

    Raises
    ------
    DeployError
        Where it does not hold.
    """
    tools.run(["pg_verifybackup", "--exit-on-error", str(folder)], env={**os.environ, "LC_ALL": "C"})


def _covered(folder: Folder, base: Base) -> str:
    chain = folder.chain(base)
    last = folder.streamed()
    if chain.files == 0 or last is None:
        return (
            f"no stream of the log in {folder.logs_in} goes on from it: what is stored after it is not backed up "
            "(`skyledger db wal` streams it)"
        )
    return f"the log after it is streamed, last at {last:%Y-%m-%d %H:%M:%S} UTC"


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
