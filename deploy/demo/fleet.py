"""Station agents as they run on stations: one process each, with a configuration file of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deploy.errors import DeployError
from deploy.local import process
from deploy.local.account import current
from ingest import database, feed

Process = subprocess.Popen[bytes]
_LISTENS = "connected to the broker"
_START = 30.0
_POLL = 0.25
_STOP = ((signal.SIGTERM, 5.0),)


@dataclass(frozen=True, slots=True)
class Post:
    """One agent's place: its folder (configuration, spool, log), and the broker it can reach."""

    station: str
    directory: Path
    host: str
    port: int
    instrument: str
    files: str
    """Glob of the instrument's log files, relative to `directory`."""
    driver: str = "picarro"
    options: Mapping[str, str] = field(default_factory=dict)
    """Of the driver."""

    def write_configuration(self) -> Path:
        """Write the agent's TOML; returns its path."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / "agent.toml"
        options = "".join(f'{key} = "{value}"\n' for key, value in self.options.items())
        path.write_text(
            f'station = "{self.station}"\n\n'
            f'[broker]\nhost = "{self.host}"\nport = {self.port}\n\n'
            '[spool]\npath = "spool.db"\nquota_mb = 500\n\n'
            "[batch]\nsamples = 120\nseconds = 60\nmax_inflight = 100\n\n"
            f'[[instrument]]\nname = "{self.instrument}"\ndriver = "{self.driver}"\npath = "{self.files}"\n' + options,
            encoding="utf-8",
        )
        return path


def wait_for_ingest(data_dir: Path) -> None:
    """Return once the stack's ingest listens: what agents send before is sent again, but only after half a minute.

    Raises
    ------
    DeployError
        It does not come up.
    """
    log = data_dir / "ingest.log"
    deadline = time.monotonic() + _START
    while not (log.exists() and _LISTENS in log.read_text(encoding="utf-8", errors="replace")):
        if time.monotonic() > deadline:
            msg = f"ingest has not connected to the broker within {_START:.0f} s: {process.tail(log)}"
            raise DeployError(msg)
        time.sleep(0.05)


def wait_until_settled(dsn: str) -> None:
    """Return once the change feed reports all that is stored: the server's own work may hold it back for a moment."""
    with database.connect(dsn) as connection:
        while not feed.settled(connection):
            time.sleep(_POLL)


def forget(post: Post) -> None:
    """Remove what an agent kept at its post the last time: spool and log, not the instrument's files."""
    for old in (*post.directory.glob("spool.db*"), post.directory / "agent.log"):
        old.unlink(missing_ok=True)


def agent_command(configuration: Path, *words: str) -> list[str]:
    """Return the command that runs ``station-agent`` on a configuration."""
    verb, *rest = words
    return [sys.executable, "-m", "station_agent", verb, "--config", str(configuration), *rest]


@contextmanager
def agents(posts: Sequence[Post]) -> Iterator[list[Process]]:
    """Run an agent at each post until all its files are delivered; none outlives the block."""
    with ExitStack() as stack:
        running = []
        for post in posts:
            one = process.spawn(
                agent_command(post.write_configuration(), "run", "--until-drained"),
                account=current(),
                log=post.directory / "agent.log",
                on_owner_death=signal.SIGTERM,
            )
            stack.callback(process.stop, one, _STOP, name=f"agent of {post.station}")
            running.append(one)
        yield running


def check(posts: Sequence[Post], running: Sequence[Process]) -> None:
    """Raise DeployError where an agent ended with an error, with the end of its log."""
    for post, one in zip(posts, running, strict=True):
        if one.poll() not in (None, 0):
            log = post.directory / "agent.log"
            msg = f"the agent of {post.station} ended with exit status {one.returncode}: {process.tail(log)}"
            raise DeployError(msg)
