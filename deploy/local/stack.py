"""The one-machine stack from its owner's side: start it, use it, stop it; it never outlives its owner."""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from deploy.errors import ServerError
from deploy.local import process
from deploy.local.account import Say, ensure_folder, silent
from deploy.local.broker import Kind
from deploy.local.service import Service, dumps
from deploy.local.supervisor import LOCK, STATE

STOP_SECONDS = 120.0


@dataclass(frozen=True)
class State:
    """A running stack.

    Attributes
    ----------
    pid : int
        Of its supervisor.
    dsn : str
        Connection string (libpq) of its database.
    host, port : str, int
        Of its broker.
    """

    pid: int
    dsn: str
    host: str
    port: int

    @property
    def address(self) -> str:
        """Of the broker: ``host:port``."""
        return f"{self.host}:{self.port}"


class Stack:
    """PostgreSQL, a broker and services under one supervisor, which stops them when this process ends, however it ends.

    Parameters
    ----------
    data_dir : path-like
        Where everything is kept; made if absent. One stack runs on a folder at a time.
    services : sequence of Service
        Commands beside the servers, started in this order once both take connections.
    durable : bool
        False: fast, but a crash of the machine may destroy the database; for throw-away stacks only.
    broker_kind : {"mosquitto", "iotcore"}, optional
        Default: Mosquitto where installed, else the iotcore wheel.
    broker_port : int
        0: the one it had last time, else a free one.
    detached : bool
        True: it does outlive us, until `down`.
    say : callable, optional
        Receives sentences the user should read.

    Raises
    ------
    ServerError
        On start, if a stack already runs on the folder, or a server or a service that runs once fails.

    Examples
    --------
    >>> with Stack("/srv/skyledger") as stack:  # doctest: +SKIP
    ...     migrate(stack.dsn)
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str],
        *,
        services: Sequence[Service] = (),
        durable: bool = True,
        broker_kind: Kind | None = None,
        broker_port: int = 0,
        detached: bool = False,
        say: Say = silent,
    ) -> None:
        self.data_dir = Path(data_dir).absolute()
        self._options = ["--services", dumps(services), "--broker-port", str(broker_port)]
        self._options += ["--broker-kind", broker_kind] if broker_kind else []
        self._options += [] if durable else ["--throwaway"]
        self._detached = detached
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None
        self._state: State | None = None

    @property
    def state(self) -> State:
        """Where everything is."""
        if self._state is None:
            raise ServerError(f"the stack of {self.data_dir} has not been started: call start() first")
        return self._state

    @property
    def dsn(self) -> str:
        """Connection string (libpq) of the database."""
        return self.state.dsn

    @property
    def host(self) -> str:
        """Of the broker."""
        return self.state.host

    @property
    def port(self) -> int:
        """Of the broker."""
        return self.state.port

    @property
    def address(self) -> str:
        """Of the broker: ``host:port``."""
        return self.state.address

    def start(self) -> Self:
        """Start the supervisor and return once everything runs."""
        ensure_folder(self.data_dir)
        command = [sys.executable, "-P", "-m", "deploy.local.supervisor", str(self.data_dir), *self._options]
        command += [] if self._detached else ["--owner", str(os.getpid())]
        with process.open_log(self.data_dir / "stack.log") as log:
            self._process = subprocess.Popen(  # noqa: S603  our own supervisor
                command,
                stdin=subprocess.DEVNULL if self._detached else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                bufsize=0,
            )
        try:
            self._state = self._hear(self._process)
        except BaseException:
            self.stop()
            raise
        return self

    def _hear(self, supervisor: subprocess.Popen[bytes]) -> State:
        assert supervisor.stdout is not None
        with supervisor.stdout as lines:
            for line in lines:
                message = json.loads(line)
                if "ready" in message:
                    return State(**message["ready"])
                if "failed" in message:
                    raise ServerError(message["failed"])
                self._say(message["say"])
        log = self.data_dir / "stack.log"
        raise ServerError(f"the supervisor of {self.data_dir} ended before all ran; its log ends:{process.tail(log)}")

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the stack has ended by itself or by `down`; False when the time is over before."""
        if self._process is None:
            return True
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self) -> None:
        """Stop everything and wait until nothing is left."""
        supervisor, self._process = self._process, None
        if supervisor is None:
            return
        if supervisor.stdin is None:
            supervisor.terminate()
        else:
            with contextlib.suppress(OSError), supervisor.stdin as pipe:
                pipe.write(b"stop\n")
        # It has its order; SIGCONT disturbs nothing and wakes one that was suspended.
        process.stop(supervisor, [(signal.SIGCONT, STOP_SECONDS)], name="the supervisor")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def running(data_dir: str | os.PathLike[str]) -> State | None:
    """State of the stack that runs on a folder now; None if none does (or it is not up yet)."""
    folder = Path(data_dir).absolute()
    if not _held(folder):
        return None
    try:
        return State(**json.loads((folder / STATE).read_text()))
    except FileNotFoundError:
        return None


def down(data_dir: str | os.PathLike[str], *, seconds: float = STOP_SECONDS) -> bool:
    """Stop the stack that runs on a folder, wherever it was started; False if none runs.

    Raises
    ------
    ServerError
        If it has not stopped after so many seconds, or belongs to another user.
    """
    folder = Path(data_dir).absolute()
    if not _held(folder):
        return False
    pid = int((folder / LOCK).read_text())
    try:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    except PermissionError:
        raise ServerError(f"the stack on {folder} (pid {pid}) belongs to another user: stop it as that one") from None
    deadline = time.monotonic() + seconds
    while _held(folder) or not process.ended(pid):
        if time.monotonic() > deadline:
            raise ServerError(
                f"the stack on {folder} (pid {pid}) has not stopped after {seconds:g} s: see its logs there"
            )
        time.sleep(0.05)
    return True


def remove(data_dir: str | os.PathLike[str]) -> None:
    """Delete a stopped stack's folder and what lies elsewhere for it."""
    folder = Path(data_dir).absolute()
    if _held(folder):
        raise ServerError(f"a stack runs on {folder}: `skyledger down --data-dir {folder}` first")
    for name in ("postgres", "broker"):
        if (entry := folder / name).is_symlink():
            shutil.rmtree(entry.resolve(), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _held(folder: Path) -> bool:
    """Whether a supervisor holds the folder's lock."""
    try:
        handle = os.open(folder / LOCK, os.O_RDWR)
    except FileNotFoundError:
        return False
    except PermissionError:
        raise ServerError(f"cannot look into {folder}: run as the user it belongs to") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(handle)
