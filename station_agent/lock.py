"""One process at a time has a spool open: a lock on the file beside it."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path
from typing import Final

from station_agent.errors import SpoolError, SpoolUnwritableError

PASSING: Final = (errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""What a disk may say and take back."""
WAIT_S: Final = 0.5
"""How long to wait for the lock of another process."""


def _lock_path(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


def take(path: Path) -> int:
    """Hold a spool for this process and return the handle; the lock goes with the process, however it ends.

    Raises
    ------
    SpoolError
        Another process holds it, or the folder cannot be written.
    """
    try:
        handle = os.open(_lock_path(path.resolve()), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        kind = SpoolUnwritableError if error.errno in PASSING else SpoolError
        raise kind(f"{path}: the spool cannot be made there: {error.strerror}; check the folder") from None
    # A `status` asks for the lock for a moment, and an agent that is being restarted takes a moment to end.
    deadline = time.monotonic() + WAIT_S
    while not _taken(handle) and time.monotonic() < deadline:
        time.sleep(0.05)
    if not _taken(handle):
        process = os.pread(handle, 20, 0).decode(errors="replace").strip() or "unknown"
        os.close(handle)
        raise SpoolError(
            f"{path}: another station-agent (process {process}) has this spool open; stop it first"
        ) from None
    os.ftruncate(handle, 0)
    os.pwrite(handle, str(os.getpid()).encode(), 0)
    return handle


def release(handle: int) -> None:
    """Let others have the spool."""
    os.close(handle)


def _taken(handle: int) -> bool:
    """Whether this process holds the lock now."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def holder(path: Path) -> int | None:
    """Return the process that holds the lock, or None where nobody does."""
    try:
        handle = os.open(_lock_path(path.resolve()), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        text = os.pread(handle, 20, 0).decode(errors="replace").strip()
        return int(text) if text.isdigit() else 0
    finally:
        os.close(handle)
    return None
