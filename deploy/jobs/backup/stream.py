"""The stream of the write-ahead log: what the server commits is in the folder a moment later, or before it answers."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Final

from deploy import outputs
from deploy.errors import DeployError
from deploy.jobs.backup import programs
from deploy.jobs.backup.folder import Folder
from deploy.local import process
from ingest import server
from ingest.errors import IngestError

log: Final = logging.getLogger(__name__)

NAME: Final = "skyledger_wal"
"""How the stream calls itself: for ``synchronous_standby_names``, and its replication slot."""
PAUSE_S: Final = 2.0
_GONE: Final = ("has already been removed", "can no longer", "invalidated", "is not in this server's history")


def stream(dsn: str, folder: Folder, stop: threading.Event, *, tools: Path | None = None) -> None:
    """Write the server's log into the folder until stopped; a server that is away is waited for.

    A slot keeps what the stream has not had yet at the server, which therefore fills its disk while the stream is away
    (``max_slot_wal_keep_size`` bounds it). After a restore the stream goes on with the new timeline by itself.

    Parameters
    ----------
    dsn : str
        A database of the server, as a user who may copy it.
    folder : Folder
    stop : threading.Event
        Ends it.
    tools : pathlib.Path, optional
        Folder of PostgreSQL's programs; default: looked for.

    Raises
    ------
    StoreError
        The server cannot be reached when this begins.
    DeployError
        The folder is another server's, programs are missing, or the server no longer has what is to follow.
    """
    one = server.identify(dsn)
    folder.claim(one)
    with folder.alone("wal"):
        while True:
            _follow(dsn, folder, one, stop, tools)
            again = _again(dsn, stop)
            if again is None:
                return
            one = again
            folder.claim(one)


def _again(dsn: str, stop: threading.Event) -> server.Server | None:
    """Return the server once it is there again, None when we are stopped."""
    said = ""
    while not stop.wait(PAUSE_S):
        try:
            return server.identify(dsn)
        except IngestError as error:
            if str(error) != said:
                said = str(error)
                log.warning("%s", said, extra={"event": "stream_waits"})
    return None


def _follow(dsn: str, folder: Folder, one: server.Server, stop: threading.Event, tools: Path | None) -> None:
    """Stream until the server goes away, or we are stopped."""
    found = programs.find(one.major, tools)
    env = programs.environment(dsn, name=NAME)
    place, said = outputs.folder(folder.log(one.timeline)), folder.path / "wal.log"
    start = said.stat().st_size if said.exists() else 0
    slot = f"--slot={NAME}"
    try:
        found.run(["pg_receivewal", "--create-slot", "--if-not-exists", "--no-loop", slot], env=env)
    except DeployError as error:
        log.warning("%s", _line(str(error)), extra={"event": "stream_waits"})
        return
    words = ["pg_receivewal", "--directory", str(place), slot, "--synchronous", "--no-loop", "--no-password"]
    child = found.start(words, log=said, env=env)
    log.info("streaming the log, timeline %d, to %s", one.timeline, place, extra={"event": "streaming"})
    while child.poll() is None and not stop.wait(0.1):
        pass
    process.stop(child, programs.PATIENCE, name="pg_receivewal")
    if stop.is_set():
        return
    tail = process.tail(said, start=start, lines=4)
    if any(sign in tail for sign in _GONE) or _lost(dsn):
        raise DeployError(
            f"the server no longer has the log that is to follow what is in {place}:{tail}\n"
            f"move {place} away, drop the slot {NAME} at the server, start the stream again, and make a backup at "
            "once: earlier ones reach no further than this"
        )
    log.warning("the stream ended, and is begun again: %s", _line(tail), extra={"event": "stream_ended"})


def _lost(dsn: str) -> bool:
    """Ask the server itself: what it says to the stream is in its own language."""
    try:
        return server.lost(dsn, NAME)
    except IngestError:  # it is away
        return False


def _line(text: str) -> str:
    return " ".join(text.split())
