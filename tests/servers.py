"""Real servers for tests: throw-away folders, databases and brokers."""

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo

from deploy.local.broker import Broker, Kind, mosquitto_program
from deploy.local.postgres import Postgres

TIMESCALE_VARIABLE = "SKYLEDGER_TEST_TIMESCALE_DSN"
TIMESCALE_MAJOR = 17
TIMESCALE_SETTINGS = {"shared_preload_libraries": "timescaledb", "timescaledb.telemetry_level": "off"}
CACHE = Path(os.environ.get("SKYLEDGER_CACHE", "/var/cache/skyledger"))


def absent(sentence: str) -> None:
    """Skip a test whose server or data are absent; in CI that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{sentence} (with CI=true nothing may be absent)", pytrace=False)
    pytest.skip(sentence)


@contextmanager
def throwaway_folder() -> Iterator[Path]:
    """Folder that an unprivileged server can pass through (pytest's own are private to root)."""
    folder = Path(tempfile.mkdtemp(prefix="skyledger-test-"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def throwaway_postgres() -> Iterator[Postgres]:
    """Running plain PostgreSQL, fast and not durable."""
    with throwaway_folder() as folder, Postgres(folder, durable=False) as server:
        yield server


class SmallDisk:
    """A disk of its own that can be filled; needs root."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self._folder = folder
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0711", "tmpfs", folder], check=True)

    def fill(self) -> None:
        """Leave no room."""
        with (self._folder / "ballast").open("wb") as file, suppress(OSError):
            while True:
                file.write(bytes(65_536))
                file.flush()

    def empty(self) -> None:
        """Make room again."""
        (self._folder / "ballast").unlink(missing_ok=True)

    def remove(self) -> None:
        """Unmount it."""
        subprocess.run(["umount", "--lazy", self._folder], check=True)


@contextmanager
def postgres_on_small_disk(megabytes: int) -> Iterator[tuple[Postgres, SmallDisk]]:
    """Running durable PostgreSQL on a disk that can be filled; skips where disks cannot be mounted."""
    with throwaway_folder() as folder:
        try:
            disk = SmallDisk(folder, megabytes)
        except (OSError, subprocess.CalledProcessError):
            if os.geteuid() == 0:
                absent("a small disk cannot be mounted here, though we are root")
            pytest.skip("a small disk cannot be mounted here: it takes root")
        try:
            with Postgres(folder, settings={"max_wal_size": "48MB", "min_wal_size": "32MB"}) as server:
                yield server, disk
        finally:
            disk.remove()


@contextmanager
def throwaway_broker(kind: Kind | None = None) -> Iterator[Broker]:
    """Running broker on a port of its own; `kill`, `start`, `lose_sessions` at will."""
    with throwaway_folder() as folder, Broker(folder, kind=kind) as broker:
        yield broker


@contextmanager
def fresh_database(server_dsn: str) -> Iterator[str]:
    """DSN of a new, empty database on a server; dropped afterwards with whatever is still connected."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server_dsn, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    try:
        yield conninfo.make_conninfo(server_dsn, dbname=name)
    finally:
        with psycopg.connect(server_dsn, autocommit=True) as conn:
            conn.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def timescale_server_dsn() -> str:
    """DSN of the TimescaleDB server for tests, from the environment; its absence skips, or fails in CI."""
    dsn = os.environ.get(TIMESCALE_VARIABLE)
    if not dsn:
        absent(f"no TimescaleDB: start one with `.ci/timescale start` and set {TIMESCALE_VARIABLE}")
    return dsn


def require_mosquitto() -> None:
    """Skip, or fail in CI, where Mosquitto is not installed."""
    if mosquitto_program() is None:
        absent("Mosquitto is not installed: install your system's package mosquitto")


@functools.cache
def timescale_programs() -> Path:
    """Return the folder bin of a PostgreSQL with TimescaleDB, for servers of a test's own.

    It is what `.ci/timescale build` brought: this system's package, or a root of Debian 13 whose programs are run here
    with its own loader and libraries.
    """
    system = Path(f"/usr/lib/postgresql/{TIMESCALE_MAJOR}")
    if list(system.glob("lib/timescaledb-*.so")):
        return system / "bin"
    root = CACHE / "trixie-timescaledb"
    if not list((root / str(system).lstrip("/")).glob("lib/timescaledb-*.so")):
        absent(f"no programs of TimescaleDB, neither in {system} nor in {root}: `.ci/timescale build` brings them")
    return _lent(root, system)


def _lent(root: Path, system: Path) -> Path:
    """Make a tree of small scripts that run a root's PostgreSQL outside of it; once a session."""
    there = root / str(system).lstrip("/")
    folder = Path(tempfile.mkdtemp(prefix="skyledger-test-lent-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    bindir = folder / str(system).lstrip("/") / "bin"
    bindir.mkdir(parents=True)
    share = folder / f"usr/share/postgresql/{TIMESCALE_MAJOR}"
    share.parent.mkdir(parents=True)
    share.symlink_to(root / f"usr/share/postgresql/{TIMESCALE_MAJOR}")
    (bindir.parent / "lib").symlink_to(there / "lib")
    (loader,) = (root / "lib64").glob("ld-linux-*") if (root / "lib64").is_dir() else (root / "lib").glob("ld-linux-*")
    libraries = ":".join(str(path.parent) for path in root.glob("usr/lib/*/libpq.so.5"))
    for program in (there / "bin").iterdir():
        script = bindir / program.name
        # The script's own name as argv[0]: PostgreSQL looks for its other programs and its libraries beside it.
        script.write_text(f'#!/bin/sh\nexec {loader} --library-path {libraries} --argv0 "$0" {program} "$@"\n')
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755)
    return bindir


def server_options(kind: str) -> dict[str, object]:
    """Return what `Postgres` takes for a server of one kind: ``plain`` or ``timescale``."""
    return {} if kind == "plain" else {"bindir": timescale_programs(), "settings": TIMESCALE_SETTINGS}


@contextmanager
def own_server(kind: str, folder: Path, **options: object) -> Iterator[Postgres]:
    """Running server that no other test shares: ``plain`` or ``timescale``."""
    with Postgres(folder, **server_options(kind), **options) as server:  # type: ignore[arg-type]
        yield server
