"""A server process: started on a leash, watched, stopped."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from deploy.errors import ServerError
from deploy.local.account import Account
from deploy.local.leash import UNCHANGED

LEASH = Path(__file__).with_name("leash.py")
LOG_LIMIT = 16 * 2**20
TAIL_LINES = 12
POLL_SECONDS = 0.01


def spawn(
    command: Sequence[str],
    *,
    account: Account,
    log: Path,
    on_owner_death: signal.Signals,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] = "/",
) -> subprocess.Popen[bytes]:
    """Start a server that receives `on_owner_death` when we die.

    Parameters
    ----------
    command : sequence of str
        Program (absolute) and arguments.
    account : Account
        Whom it runs as.
    log : pathlib.Path
        Receives its output; opened by us, so it may lie where the account cannot reach.
    on_owner_death : signal.Signals
        Sent by the kernel when the *thread* that called this ends, so call it from one that lives on.
    env : mapping of str to str, optional
        Default: `environment`.
    cwd : path-like
        Where it starts.

    Returns
    -------
    subprocess.Popen
        In a session of its own: Ctrl-C in our terminal does not reach it.
    """
    uid, gid = (UNCHANGED, UNCHANGED) if account.ours else (account.uid, account.gid)
    prefix = [sys.executable, "-I", "-S", str(LEASH), str(int(on_owner_death)), str(os.getpid()), str(uid), str(gid)]
    with open_log(log) as output:
        return subprocess.Popen(  # noqa: S603  the callers' own programs
            [*prefix, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=environment() if env is None else env,
            start_new_session=True,
        )


def environment() -> dict[str, str]:
    """Return what a server needs to see of our environment: messages in English, times in UTC."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def open_log(log: Path) -> IO[bytes]:
    """Log opened for appending; one that has grown large is put aside first (one old one is kept)."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > LOG_LIMIT:
            log.rename(log.with_suffix(".old.log"))
    return log.open("ab")


def tail(log: Path, *, start: int = 0, lines: int = TAIL_LINES) -> str:
    """Last lines of a log, from byte `start` on, indented for a message."""
    try:
        text = log.read_bytes()[start:].decode(errors="replace")
    except FileNotFoundError:
        return ""
    return "".join(f"\n    {line}" for line in text.splitlines()[-lines:])


def wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], *, seconds: float) -> bool:
    """Poll until ready; False when the process has ended or the time is over."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if ready():
            return True
        if process.poll() is not None:
            return False
        time.sleep(POLL_SECONDS)
    return False


def ended(pid: int) -> bool:
    """Whether a process, not necessarily ours, has ended (it may still wait for its parent to collect it)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in {"Z", "X"}


def stop(process: subprocess.Popen[bytes], signals: Sequence[tuple[signal.Signals, float]], *, name: str) -> None:
    """End a process: each signal in turn with the seconds it may take, then SIGKILL."""
    for number, seconds in signals:
        process.send_signal(number)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
        return
    process.kill()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        raise ServerError(f"{name} (pid {process.pid}) does not end even on SIGKILL: is its disk hanging?") from None
