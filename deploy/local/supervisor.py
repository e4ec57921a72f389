"""The process that holds a stack: starts the servers and services, restarts what ends, stops all when told or orphaned.

`python -m deploy.local.supervisor` is started by `deploy.local.stack.Stack`, which talks to it by two pipes:
one JSON object a line comes out (`say`, then `ready` or `failed`); anything on stdin, its end included, means stop.
Everything it starts is on a leash: should the supervisor itself be killed, the kernel ends them.
"""

import argparse
import contextlib
import fcntl
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.errors import DeployError, ServerError
from deploy.local import process
from deploy.local.account import current, ensure_folder
from deploy.local.broker import Broker, answers
from deploy.local.postgres import Postgres
from deploy.local.service import Service

LOCK, STATE, PORT_FILE = "stack.lock", "stack.json", "broker.port"
POLL_SECONDS = 0.5
LONGEST_PAUSE = 60.0
SETTLED_SECONDS = 60.0
PROBE_SECONDS = 0.5  # whoever only looks whether a stack runs holds the lock for a moment
LEAVING_SECONDS = 3.0  # what a broker whose supervisor was killed takes to end


def tell(**message: Any) -> None:
    """One message to the owner, who may be gone."""
    with contextlib.suppress(OSError):
        os.write(1, (json.dumps(message) + "\n").encode())


def note(sentence: str) -> None:
    """One line into the supervisor's log."""
    print(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), sentence, file=sys.stderr, flush=True)  # noqa: T201  its log


@dataclass
class Running:
    """A service that is to run as long as the stack."""

    service: Service
    process: "subprocess.Popen[bytes] | None" = None
    started: float = 0.0
    failures: int = 0


class Orders:
    """Where the order to stop comes from: a signal, the owner's pipe, the owner's end."""

    def __init__(self, owner: int | None) -> None:
        self._selector = selectors.DefaultSelector()
        self._given = False
        wake_read, wake_write = os.pipe()
        for end in (wake_read, wake_write):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        self._selector.register(wake_read, selectors.EVENT_READ)
        self._owner = owner
        if owner is not None:
            self._selector.register(0, selectors.EVENT_READ)

    def _on_signal(self, _number: int, _frame: object) -> None:
        self._given = True

    def to_stop(self, seconds: float) -> bool:
        """Wait at most so long; whether the order has been given."""
        if not self._given:
            self._given = bool(self._selector.select(seconds)) or self._given or self._orphaned()
        return self._given

    def _orphaned(self) -> bool:
        # Children forked by the owner may hold its side of the pipe open, so its end does not show there.
        return self._owner is not None and os.getppid() != self._owner


@dataclass
class Supervisor:
    """Servers and services of one folder."""

    data_dir: Path
    services: Sequence[Service]
    orders: Orders
    postgres: Postgres
    broker: Broker
    _running: list[Running] = field(default_factory=list)
    _server_failures: dict[str, tuple[int, float]] = field(default_factory=dict)

    @property
    def words(self) -> dict[str, str]:
        """What services are told about the stack."""
        return {
            "dsn": self.postgres.dsn,
            "broker": self.broker.address,
            "host": self.broker.host,
            "port": str(self.broker.port),
            "data_dir": str(self.data_dir),
        }

    def start(self) -> None:
        """Bring everything up, in order."""
        self.postgres.start()
        self.broker.start()
        (self.data_dir / PORT_FILE).write_text(f"{self.broker.port}\n")
        for service in self.services:
            if service.once:
                self._run_once(service)
            else:
                self._running.append(self._spawned(Running(service)))
            if self.orders.to_stop(0):
                return

    def _launch(self, service: Service) -> subprocess.Popen[bytes]:
        return process.spawn(
            service.command(**self.words),
            account=current(),
            log=self._log(service),
            on_owner_death=signal.SIGTERM,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            cwd=Path.cwd(),
        )

    def _log(self, service: Service) -> Path:
        return self.data_dir / f"{service.name}.log"

    def _run_once(self, service: Service) -> None:
        log = self._log(service)
        start = log.stat().st_size if log.exists() else 0
        child = self._launch(service)
        while child.poll() is None:
            if self.orders.to_stop(0.02):
                process.stop(child, [(signal.SIGTERM, 10)], name=service.name)
                return
        if child.returncode != 0:
            raise ServerError(
                f"{service.name} ended with {child.returncode}; its log {log} ends:{process.tail(log, start=start)}"
            )

    def _spawned(self, running: Running) -> Running:
        running.process = self._launch(running.service)
        running.started = time.monotonic()
        return running

    def watch(self) -> None:
        """Restart what ends, until the order to stop."""
        while not self.orders.to_stop(POLL_SECONDS):
            for server in (self.postgres, self.broker):
                if server.pid is None:
                    self._restart_server(server)
            for running in self._running:
                self._look_after(running)

    def _restart_server(self, server: Postgres | Broker) -> None:
        name = type(server).__name__
        failures, not_before = self._server_failures.get(name, (0, 0.0))
        if (now := time.monotonic()) < not_before:
            return
        note(f"{name} has ended; starting it again")
        try:
            server.start()
        except DeployError as error:
            note(str(error))
            self._server_failures[name] = (failures + 1, now + pause(failures))
        else:
            self._server_failures.pop(name, None)

    def _look_after(self, running: Running) -> None:
        child = running.process
        now = time.monotonic()
        if child is not None and child.poll() is not None:
            settled = now - running.started > SETTLED_SECONDS
            running.failures = 1 if settled else running.failures + 1
            running.started, running.process = now, None
            wait = pause(running.failures)
            note(f"{running.service.name} ended with {child.returncode}; starting it again in {wait:g} s")
        elif child is None and now - running.started >= pause(running.failures):
            self._spawned(running)

    def stop(self) -> None:
        """Stop services, then the broker, then the database; each is tried even if another fails."""
        with contextlib.ExitStack() as last:
            last.callback(self.postgres.stop)
            last.callback(self.broker.stop)
            for running in self._running:
                if running.process is not None and running.process.poll() is None:
                    running.process.terminate()
                    last.callback(process.stop, running.process, [(signal.SIGTERM, 15)], name=running.service.name)


def pause(failures: int) -> float:
    """Seconds to wait before the next start after so many failures in a row."""
    return float(min(LONGEST_PAUSE, 0.5 * 2 ** max(failures - 1, 0)))


def take_lock(data_dir: Path) -> int:
    """Lock the folder for this process's life; refuse where another stack holds it."""
    ensure_folder(data_dir)
    handle = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + PROBE_SECONDS
    while not _locked(handle):
        if time.monotonic() > deadline:
            holder = os.read(handle, 32).decode().strip()
            raise ServerError(
                f"a stack already runs on {data_dir} (pid {holder}); `skyledger down --data-dir {data_dir}` stops it"
            )
        time.sleep(0.05)
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return handle


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_state(supervisor: Supervisor) -> dict[str, Any]:
    """State file for `skyledger down` and others; readable by its owner only."""
    state = {
        "pid": os.getpid(),
        "dsn": supervisor.postgres.dsn,
        "host": supervisor.broker.host,
        "port": supervisor.broker.port,
    }
    path = supervisor.data_dir / STATE
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(state) + "\n")
    draft.chmod(0o600)
    draft.replace(path)
    return state


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse what `deploy.local.stack` passes."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local.supervisor", description=__doc__)
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--owner", type=int, help="process to die with; none: until told to stop")
    parser.add_argument("--services", default="[]", help="JSON, see deploy.local.service")
    parser.add_argument("--broker-kind", choices=["mosquitto", "iotcore"])
    parser.add_argument("--broker-port", type=int, default=0)
    parser.add_argument("--throwaway", action="store_true", help="fast, not durable: for tests")
    return parser.parse_args(argv)


def remembered_port(data_dir: Path) -> int:
    """Port this folder's broker had last time, so that agents find it again; 0 if there is none or it is taken."""
    try:
        port = int((data_dir / PORT_FILE).read_text())
    except (FileNotFoundError, ValueError):
        return 0
    deadline = time.monotonic() + LEAVING_SECONDS
    while answers(port):
        if time.monotonic() > deadline:
            return 0
        time.sleep(0.05)
    return port


def supervise(options: argparse.Namespace) -> None:
    """Bring the stack up, watch it, and take it down whatever happens."""
    data_dir = options.data_dir.absolute()
    handle = take_lock(data_dir)

    def say(sentence: str) -> None:
        tell(say=sentence)

    supervisor = Supervisor(
        data_dir,
        Service.loads(options.services),
        Orders(options.owner),
        Postgres(data_dir, durable=not options.throwaway, say=say),
        Broker(data_dir, kind=options.broker_kind, port=options.broker_port or remembered_port(data_dir), say=say),
    )
    try:
        supervisor.start()
        tell(ready=write_state(supervisor))
        supervisor.watch()
    finally:
        (data_dir / STATE).unlink(missing_ok=True)
        supervisor.stop()
        os.close(handle)


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0 after an orderly stop, 1 if the stack did not come up."""
    options = arguments(argv)
    try:
        supervise(options)
    except DeployError as error:
        tell(failed=str(error))
        note(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
