"""Real servers for tests: throw-away folders, databases and brokers."""

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
