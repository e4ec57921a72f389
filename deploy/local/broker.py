"""An MQTT broker of one's own on the loopback: Mosquitto where it is installed, else rumqttd from the iotcore wheel."""

import contextlib
import importlib.util
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from deploy.errors import ServerError
from deploy.local import process
from deploy.local.account import Account, Say, quarters, silent

HOST = "127.0.0.1"
MOSQUITTO_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")
MAX_INFLIGHT = 1000
MAX_QUEUED = 50_000
MAX_QUEUED_BYTES = 512 * 2**20
MAX_PAYLOAD = 16 * 2**20
PORT_RANGE = (20_000, 32_000)
PORT_TRIES = 20
START_SECONDS = 20

Kind = Literal["mosquitto", "iotcore"]

MOSQUITTO_CONF = """\
# Written at every start.
listener {port} {host}
allow_anonymous true
persistence true
persistence_location {folder}/
autosave_interval 60
max_inflight_messages {inflight}
max_queued_messages {queued}
max_queued_bytes {queued_bytes}
message_size_limit {payload}
set_tcp_nodelay true
connection_messages false
log_dest stderr
log_type error
log_type warning
log_type notice
log_timestamp_format %Y-%m-%dT%H:%M:%SZ
"""


class Broker:
    """One broker, listening on the loopback only; whoever is on this machine may connect.

    Parameters
    ----------
    data_dir : path-like
        Its folder; sessions are kept in ``data_dir/broker`` (Mosquitto; rumqttd keeps none over a restart), the log
        is ``data_dir/broker.log``.
    kind : {"mosquitto", "iotcore"}, optional
        Default: Mosquitto where it is on PATH or in /usr/sbin, else the iotcore wheel.
    port : int, optional
        0 chooses a free one, which later starts of this object keep.
    say : callable, optional
        Receives sentences the user should read.

    Attributes
    ----------
    host, port : str, int
        Where it listens.
    kind : str
        What it is.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str],
        *,
        kind: Kind | None = None,
        port: int = 0,
        say: Say = silent,
    ) -> None:
        self.data_dir = Path(data_dir).absolute()
        self.log = self.data_dir / "broker.log"
        self.kind: Kind = kind or ("mosquitto" if mosquitto_program() else "iotcore")
        self.host = HOST
        self.port = port
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"{self.host}:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id while the broker runs, else None."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> Self:
        """Start the broker and return once it takes connections.

        Raises
        ------
        ServerError
            With the end of the broker's log, if it does not come up.
        """
        if self.pid is not None:
            return self
        folder, account = quarters(self.data_dir, "broker", say=self._say)
        tries = 1 if self.port else PORT_TRIES
        for left in reversed(range(tries)):
            port = self.port or free_port()
            try:
                tail = self._run(port, folder, account)
            except BaseException:
                self.stop()
                raise
            if tail is None:
                self.port = port
                return self
            if left == 0 or "in use" not in tail:
                raise ServerError(f"{self.kind} did not start on {HOST}:{port}; its log {self.log} ends:{tail}")
        return self

    def _run(self, port: int, folder: Path, account: Account) -> str | None:
        """Start on a port; None when it listens, else what its log says."""
        start = self.log.stat().st_size if self.log.exists() else 0
        if self.kind == "mosquitto":
            child = self._start_mosquitto(port, folder, account)
        else:
            child = self._start_iotcore(port, account)
        self._process = child
        if process.wait_until(lambda: answers(port) and owns_listener(child.pid, port), child, seconds=START_SECONDS):
            return None
        self.stop()
        return process.tail(self.log, start=start)

    def _start_mosquitto(self, port: int, folder: Path, account: Account) -> subprocess.Popen[bytes]:
        program = mosquitto_program()
        if program is None:
            raise ServerError("Mosquitto is not installed: install your system's package mosquitto, or use iotcore")
        text = MOSQUITTO_CONF.format(
            port=port,
            host=HOST,
            folder=folder,
            inflight=MAX_INFLIGHT,
            queued=MAX_QUEUED,
            queued_bytes=MAX_QUEUED_BYTES,
            payload=MAX_PAYLOAD,
        )
        conf = folder / "mosquitto.conf"
        conf.write_text(text)
        conf.chmod(0o600)
        account.take(conf)
        command = [str(program), "-c", str(conf)]
        return process.spawn(command, account=account, log=self.log, on_owner_death=signal.SIGTERM)

    def _start_iotcore(self, port: int, account: Account) -> subprocess.Popen[bytes]:
        if importlib.util.find_spec("iotcore") is None:
            raise ServerError(
                "no MQTT broker is installed: install the system's package mosquitto, or pip install 'skyledger[local]'"
            )
        numbers = [port, MAX_PAYLOAD, MAX_INFLIGHT, int(signal.SIGTERM), os.getpid(), account.uid, account.gid]
        with process.open_log(self.log) as output:
            # Not by the leash: the account may not be able to read our Python.
            return subprocess.Popen(  # noqa: S603  our own program and numbers
                [sys.executable, "-P", "-m", "deploy.local.rumqttd", *map(str, numbers)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=process.environment(),
                start_new_session=True,
            )

    def stop(self) -> None:
        """Stop the broker; Mosquitto writes its sessions to disk."""
        if self._process is not None:
            if self._process.poll() is None:
                process.stop(self._process, [(signal.SIGTERM, 20)], name=self.kind)
            self._process = None

    def kill(self) -> None:
        """End the broker as a crash would (SIGKILL), for fault tests."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def lose_sessions(self) -> None:
        """Forget all sessions, queued and retained messages, as a broker without its disk does; it must not run."""
        if self.pid is not None:
            raise ServerError(
                f"{self.kind} still runs on {self.address}: stop or kill it before its sessions can be lost"
            )
        folder, _ = quarters(self.data_dir, "broker", say=self._say)
        for file in folder.glob("mosquitto.db*"):
            file.unlink()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def mosquitto_program() -> Path | None:
    """Mosquitto, on PATH or where systems put daemons; None if it is not installed."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *MOSQUITTO_FOLDERS])
    found = shutil.which("mosquitto", path=path)
    return None if found is None else Path(found).resolve()


def free_port() -> int:
    """Port nobody listens on now, below those the kernel gives to outgoing connections.

    So nobody's outgoing connection can take it while the broker is down, and a client that keeps trying to
    reconnect cannot end up connected to itself.
    """
    low, high = PORT_RANGE
    with contextlib.suppress(OSError, ValueError):
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
        if first > low + 1000:
            high = min(high, first)
    for _ in range(PORT_TRIES):
        port = random.randrange(low, high)  # noqa: S311  nothing secret
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise ServerError(f"no free TCP port found between {low} and {high} in {PORT_TRIES} tries: give one")


def answers(port: int) -> bool:
    """Whether something on the loopback takes connections at this port."""
    try:
        with socket.create_connection((HOST, port), timeout=1):
            return True
    except OSError:
        return False


def owns_listener(pid: int, port: int) -> bool:
    """Whether the process itself holds the listening socket: another may have been quicker at taking the port."""
    listening = "0A"
    inodes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == listening and int(fields[1].rpartition(":")[2], 16) == port:
            inodes.add(f"socket:[{fields[9]}]")
    try:
        return any(str(link.readlink()) in inodes for link in Path(f"/proc/{pid}/fd").iterdir())
    except FileNotFoundError:
        return False
    except PermissionError:
        # We may not look, as at a process that has just ended; one that lost the race is about to.
        time.sleep(0.2)
        return not process.ended(pid)
