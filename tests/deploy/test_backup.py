"""Backups and restores by the commands: what they leave, what they refuse, and that they lose nothing in silence."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg.pq import PGconn, Ping
from typer.testing import CliRunner

from deploy.cli import app
from deploy.errors import DeployError
from deploy.jobs.backup import programs
from deploy.jobs.backup.folder import Base, Folder
from deploy.local.postgres import Postgres
from ingest.errors import IngestError
from ingest.server import Server
from tests import servers
from tests.deploy.processes import eventually


def db(*words):
    """Run `skyledger db …`; status, output, the sentence of an error of ours."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        done = CliRunner().invoke(app, ["db", *map(str, words)])
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert done.exception is None or isinstance(done.exception, DeployError | IngestError), done.exc_info
    return done.exit_code, done.output, str(done.exception)


def refused(*words):
    status, _, said = db(*words)
    assert status == 1
    return said


@pytest.fixture
def folder():
    with servers.throwaway_folder() as path:
        yield path


@pytest.fixture
def server(folder):
    with Postgres(folder, durable=False) as one:
        with psycopg.connect(one.dsn) as conn:
            conn.execute("CREATE TABLE t (i integer)")
        yield one


@pytest.fixture
def backups(folder):
    return folder / "backups"


def insert(server, number):
    with psycopg.connect(server.dsn) as conn:
        conn.execute("INSERT INTO t VALUES (%s)", [number])


def rows(server):
    with psycopg.connect(server.dsn) as conn:
        return [i for (i,) in conn.execute("SELECT i FROM t ORDER BY i")]


def flushed(server):
    """Where the server's log ends."""
    with psycopg.connect(server.dsn) as conn:
        return conn.execute("SELECT pg_current_wal_flush_lsn()").fetchone()[0]


@pytest.fixture
def stream(server, backups):
    """Start the stream; `stop` it at will."""
    running = []

    def start():
        line = [sys.executable, "-m", "deploy", "db", "wal", str(backups), "--dsn", server.dsn]
        running.append(subprocess.Popen(line, stderr=subprocess.DEVNULL))
        assert eventually(lambda: streaming(server))

    def stop():
        one = running.pop()
        one.terminate()
        assert one.wait(20) == 0

    yield type("Stream", (), {"start": staticmethod(start), "stop": staticmethod(stop)})
    for one in running:
        one.kill()
        one.wait()


def streaming(server, position="0/0"):
    """Whether the stream is there and has flushed as much."""
    with psycopg.connect(server.dsn) as conn:
        query = "SELECT FROM pg_stat_replication WHERE application_name = 'skyledger_wal' AND flush_lsn >= %s::pg_lsn"
        return conn.execute(query, [position]).fetchone() is not None


def restored(server, folder, backups, *words):
    """Put the server's data directory away and start from its backups."""
    server.stop()
    cluster = folder / "postgres/cluster"
    shutil.rmtree(cluster)
    subprocess.run(["chown", "-R", cluster.parent.owner(), backups], check=True)
    status, said, error = db("restore", backups, "--to", cluster, *words)
    assert status == 0, error
    server.start()
    return said


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# --- base backups


def test_a_backup_by_itself_is_whole(server, folder, backups):
    insert(server, 1)
    status, said, error = db("backup", backups, "--dsn", server.dsn)
    assert status == 0, error
    assert re.search(r"base/[\dTZ.-]+: \d+ MB, verified\n", said)
    assert "no stream of the log" in said
    insert(server, 2)
    said = restored(server, folder, backups)
    assert re.search(r"what was stored after [\d :-]+ UTC is lost", said)
    assert "make a backup at once" in said
    assert rows(server) == [1]
    insert(server, 3)


def test_old_ones_go_with_the_log_only_they_needed(server, folder, backups, stream):
    stream.start()
    for number in range(4):
        insert(server, number)
        status, said, error = db("backup", backups, "--dsn", server.dsn, "--keep", 2)
        assert status == 0, error
        assert "the log after it is streamed" in said
    assert re.search(r"1 older backups and [1-9] files of the log before them were removed; 2 stay", said)
    insert(server, 7)
    assert eventually(lambda: streaming(server, flushed(server)))
    bases = names(backups / "base")
    assert len(bases) == 2
    oldest = Folder(backups).bases()[0]
    logs = [name for name in names(backups / "wal/00000001") if not name.endswith(".partial")]
    assert int(logs[0][-8:], 16) == oldest.start // oldest.segment
    # Of those that stay the older one does too.
    said = restored(server, folder, backups, "--backup", bases[0])
    assert f"the backup {bases[0]}, verified" in said
    assert rows(server) == [0, 1, 2, 3, 7]


def test_a_copy_that_does_not_hold_is_not_kept_and_no_old_one_goes(server, backups, tmp_path):
    """A disk that returns other bytes than were written, between the copy and its verification."""
    assert db("backup", backups, "--dsn", server.dsn)[0] == 0
    before = names(backups / "base")
    real = programs.find(18).folder
    for name in programs.NEEDED:
        (tmp_path / name).write_text(f'#!/bin/sh\nexec {real / name} "$@"\n')
        (tmp_path / name).chmod(0o755)
    spoil = 'for last; do :; done; printf x >>"$last/PG_VERSION"\n'
    (tmp_path / "pg_verifybackup").write_text(f'#!/bin/sh\n{spoil}exec {real / "pg_verifybackup"} "$@"\n')
    said = refused("backup", backups, "--dsn", server.dsn, "--keep", 1, "--bin", tmp_path)
    assert "pg_verifybackup failed; it said:" in said
    assert '"PG_VERSION" has size' in said
    assert names(backups / "base") == before


def test_a_full_disk_leaves_nothing_half(server, backups):
    backups.mkdir()
    try:
        disk = servers.SmallDisk(backups, 24)
    except (OSError, subprocess.CalledProcessError):
        if os.geteuid() == 0:
            servers.absent("a small disk cannot be mounted here, though we are root")
        pytest.skip("a small disk cannot be mounted here: it takes root")
    try:
        said = refused("backup", backups, "--dsn", server.dsn)
        assert "No space left on device" in said
        assert names(backups / "base") == []
    finally:
        disk.remove()


def test_one_that_is_ended_leaves_nothing_half(server, backups):
    """Also by SIGKILL: what that leaves, the next one removes."""
    line = [sys.executable, "-m", "deploy", "db", "backup", str(backups), "--dsn", server.dsn, "--max-rate", "1"]
    for number, left in ((signal.SIGTERM, 0), (signal.SIGKILL, 1)):
        one = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        base = backups / "base"
        assert eventually(lambda base=base: list(base.glob(".making-*/base")))
        one.send_signal(number)
        assert one.wait(40) != 0
        assert len(names(base)) == left
        if number == signal.SIGTERM:
            assert eventually(lambda: not copying(server))
    assert db("backup", backups, "--dsn", server.dsn)[0] == 0
    assert eventually(lambda: not copying(server))
    assert [name for name in names(backups / "base") if name.startswith(".")] == []


def copying(server):
    with psycopg.connect(server.dsn) as conn:
        return conn.execute("SELECT FROM pg_stat_progress_basebackup").fetchone() is not None


def test_a_folder_is_one_servers_and_one_backup_at_a_time(server, backups):
    assert db("backup", backups, "--dsn", server.dsn)[0] == 0
    with Folder(backups).alone("backup"):
        assert "a `skyledger db backup` works in" in refused("backup", backups, "--dsn", server.dsn)
    (backups / "system").write_text("1\n")
    assert "holds backups of another server (its identifier 1, this one's" in refused(
        "backup", backups, "--dsn", server.dsn
    )
    assert "holds backups of another server" in refused("wal", backups, "--dsn", server.dsn)


def test_a_server_that_still_replays_its_log_is_waited_for(server, folder, backups):
    assert db("backup", backups, "--dsn", server.dsn)[0] == 0
    dsn, cluster, go = server.dsn, folder / "postgres/cluster", folder / "postgres/go"
    server.stop()
    shutil.rmtree(cluster)
    subprocess.run(["chown", "-R", cluster.parent.owner(), backups], check=True)
    assert db("restore", backups, "--to", cluster)[0] == 0
    with (cluster / "postgresql.auto.conf").open("a") as file:  # a log that takes long
        file.write(f"restore_command = 'until test -e {go}; do sleep 0.1; done; exit 1'\n")
    ended = threading.Event()
    starting = threading.Thread(target=lambda: (server.start(), ended.wait()))  # it ends with who started it
    starting.start()
    try:
        assert eventually(lambda: PGconn.ping(dsn.encode()) == Ping.REJECT)
        line = [sys.executable, "-m", "deploy", "db", "backup", str(backups), "--dsn", dsn]
        one = subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"})
        assert "lets nobody in yet: waiting for it" in one.stdout.readline()
        go.touch()
        assert "verified" in one.communicate(timeout=60)[0]
        assert one.returncode == 0
    finally:
        go.touch()
        ended.set()
        starting.join()


def test_programs_of_another_version_are_not_taken(server, backups, tmp_path):
    for name in programs.NEEDED:
        (tmp_path / name).write_text("#!/bin/sh\necho 'it (PostgreSQL) 12.3'\n")
        (tmp_path / name).chmod(0o755)
    said = refused("backup", backups, "--dsn", server.dsn, "--bin", tmp_path)
    assert f"of PostgreSQL 18 are needed, found: 12 in {tmp_path}; install them (Debian: postgresql-18)" in said
    assert not backups.exists()


def test_who_may_not_copy_the_server_is_told(server, backups):
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        conn.execute("CREATE ROLE plain LOGIN")
    as_plain = server.dsn.replace("user=skyledger", "user=plain")
    assert "connect as postgres or as a user with REPLICATION" in refused("backup", backups, "--dsn", as_plain)
    for command in ("backup", "wal"):
        said = refused(command, backups, "--dsn", "postgresql://who:secret@[x/")
        assert "cannot be read: expected postgresql://USER@HOST/DATABASE" in said
        assert "secret" not in said


def test_tables_in_other_places_are_not_copied_half(server, folder, backups):
    place = folder / "elsewhere"
    place.mkdir()
    shutil.chown(place, (folder / "postgres").owner())
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        conn.execute(f"CREATE TABLESPACE elsewhere LOCATION '{place}'")
    assert "has tablespaces of its own (elsewhere)" in refused("backup", backups, "--dsn", server.dsn)
    assert not backups.exists()


def test_passwords_are_on_no_command_line():
    env = programs.environment("postgresql://who:secret@localhost:5/x?sslmode=verify-full", name="n")
    assert (env["PGPASSWORD"], env["PGUSER"], env["PGPORT"], env["PGSSLMODE"]) == ("secret", "who", "5", "verify-full")
    assert env["PGAPPNAME"] == "n"
    with pytest.raises(DeployError, match=r"cannot be told keepalives; leave it out"):
        programs.environment("host=x keepalives=1", name="n")


# --- restores


def test_nothing_that_was_committed_after_a_time_comes_back(server, folder, backups, stream):
    stream.start()
    assert db("backup", backups, "--dsn", server.dsn)[0] == 0
    insert(server, 1)
    time = moment(server)
    insert(server, 2)  # the mistake
    assert db("backup", backups, "--dsn", server.dsn)[0] == 0
    assert eventually(lambda: streaming(server, flushed(server)))
    first = names(backups / "base")[0]
    said = restored(server, folder, backups, "--until", time)
    assert f"the backup {first}, verified" in said  # not the newest
    assert re.search(r"until \d{4}-\d\d-\d\d [\d:.]+ UTC", said)
    assert rows(server) == [1]
    # The stream goes on with what the server writes now, and what it wrote in another life is not mixed in.
    assert eventually(lambda: streaming(server))
    insert(server, 3)
    assert db("backup", backups, "--dsn", server.dsn)[0] == 0
    insert(server, 4)
    assert eventually(lambda: streaming(server, flushed(server)))
    restored(server, folder, backups)
    assert rows(server) == [1, 3, 4]


def moment(server):
    with psycopg.connect(server.dsn) as conn:
        return conn.execute("SELECT clock_timestamp()").fetchone()[0].isoformat()


def test_a_stream_that_stopped_goes_on_where_it_was(server, folder, backups, stream):
    stream.start()
    assert db("backup", backups, "--dsn", server.dsn)[0] == 0
    stream.stop()
    insert(server, 1)
    stream.start()
    assert eventually(lambda: streaming(server, flushed(server)))
    restored(server, folder, backups)
    assert rows(server) == [1]


def test_a_part_of_the_log_that_cannot_be_read_stops_the_server_and_loses_nothing(server, folder, backups, stream):
    stream.start()
    assert db("backup", backups, "--dsn", server.dsn)[0] == 0
    for number in range(3):
        insert(server, number)
        with psycopg.connect(server.dsn, autocommit=True) as conn:
            conn.execute("SELECT pg_switch_wal()")
    assert eventually(lambda: streaming(server, flushed(server)))
    stream.stop()
    server.stop()
    cluster = folder / "postgres/cluster"
    shutil.rmtree(cluster)
    subprocess.run(["chown", "-R", cluster.parent.owner(), backups], check=True)
    assert db("restore", backups, "--to", cluster)[0] == 0
    segments = sorted(path for path in (backups / "wal").rglob("*") if re.fullmatch(r"[0-9A-F]{24}", path.name))
    segments[-1].chmod(0)  # the server runs as nobody, or as who runs this
    with pytest.raises(DeployError):
        server.start()
    segments[-1].chmod(0o600)
    server.start()
    assert rows(server) == [0, 1, 2]


def test_a_disk_of_its_own_is_not_restored_to(server, backups):
    assert db("backup", backups, "--dsn", server.dsn)[0] == 0
    assert "is a disk of its own" in refused("restore", backups, "--to", "/dev/shm")


def test_log_that_the_server_has_removed_ends_the_stream_with_what_to_do(server, backups, stream):
    stream.start()
    stream.stop()
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        conn.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
        conn.execute("SELECT pg_reload_conf()")
        for number in range(4):
            conn.execute("INSERT INTO t VALUES (%s)", [number])
            conn.execute("SELECT pg_switch_wal()")
            conn.execute("CHECKPOINT")
        state = "SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'skyledger_wal'"
        assert conn.execute(state).fetchone() == ("lost",)
    line = [sys.executable, "-m", "deploy", "db", "wal", str(backups), "--dsn", server.dsn]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "the server no longer has the log that is to follow" in done.stderr
    assert "drop the slot skyledger_wal" in done.stderr


def test_what_is_not_empty_is_not_written_over(server, folder, backups):
    assert db("backup", backups, "--dsn", server.dsn)[0] == 0
    (folder / "there").mkdir()
    (folder / "there/file").write_text("mine")
    for place in (folder / "postgres/cluster", folder / "there", folder / "there/file"):
        assert "is not empty: a data directory is restored into a new one" in refused("restore", backups, "--to", place)
    assert (folder / "there/file").read_text() == "mine"
    assert "is no folder" in refused("restore", backups, "--to", folder / "no/where")


def test_a_damaged_backup_is_not_restored(server, folder, backups):
    assert db("backup", backups, "--dsn", server.dsn)[0] == 0
    (name,) = names(backups / "base")
    control = backups / "base" / name / "global/pg_control"
    control.write_bytes(control.read_bytes()[:-1] + b"x")
    subprocess.run(["chown", "-R", (folder / "postgres").owner(), backups], check=True)
    said = refused("restore", backups, "--to", folder / "postgres/new")
    assert "pg_verifybackup failed; it said:" in said
    assert "checksum mismatch" in said
    assert not (folder / "postgres/new").exists()


def test_what_there_is_no_backup_for_is_said(server, folder, backups):
    to = folder / "postgres/new"
    assert "holds no base backup" in refused("restore", backups, "--to", to)
    assert db("backup", backups, "--dsn", server.dsn)[0] == 0
    (name,) = names(backups / "base")
    said = refused("restore", backups, "--to", to, "--until", "2020-01-01T00:00")
    assert f"holds no base backup finished before 2020-01-01 00:00:00 UTC: there are {name}" in said
    assert "holds no base backup named x: there are" in refused("restore", backups, "--to", to, "--backup", "x")
    assert "is not a time: expected ISO 8601" in refused("restore", backups, "--to", to, "--until", "noon")


# --- the chain of the log, on files alone: names and sizes are all that counts


@pytest.fixture
def chained(tmp_path):
    """A folder with a base backup that ends in file 3 of timeline 1, and a log to be laid in."""
    one = Folder(tmp_path)
    one.claim(Server("1", 1, 18))
    made, begin = datetime(2026, 1, 1, tzinfo=UTC), 3 * 2**24
    base = Base(tmp_path / "base/2026-01-01T000000Z", made, 1, begin, begin + 99, 2**24)

    def lay(timeline, *numbers, partial=()):
        place = one.log(timeline)
        place.mkdir(exist_ok=True)
        for number in (*numbers, *partial):
            end = ".partial" if number in partial else ""
            (place / f"{timeline:08X}{number // 256:08X}{number % 256:08X}{end}").touch()

    return one, base, lay


def test_a_log_without_a_gap(chained):
    folder, base, lay = chained
    assert folder.chain(base).files == 0
    lay(1, 1, 2, 3, 4, 255, partial=[5])
    with pytest.raises(DeployError, match=r"000000010000000000000006 is missing, and 0000000100000000000000FF"):
        folder.chain(base)
    lay(1, *range(5, 255), 256, partial=[257])
    chain = folder.chain(base)
    assert (chain.timeline, chain.files, chain.last) == (1, 255, "000000010000000100000001.partial")


def test_a_log_that_begins_too_late(chained):
    folder, base, lay = chained
    lay(1, 4, 5)
    with pytest.raises(DeployError, match=r"has a gap: 000000010000000000000003 is missing"):
        folder.chain(base)


def test_a_log_through_a_restore(chained):
    folder, base, lay = chained
    lay(1, 3, 4, partial=[5])
    lay(2, 6)
    with pytest.raises(DeployError, match=r"timeline 2, which does not follow from the backup 2026-01-01T000000Z"):
        folder.chain(base)  # nothing says where it branched off
    history = folder.log(2) / "00000002.history"
    history.write_text("1\t0/5000130\tno recovery target specified\n")
    with pytest.raises(DeployError, match=r"gap: 000000020000000000000005 is missing, and 000000020000000000000006"):
        folder.chain(base)
    lay(2, 5)
    chain = folder.chain(base)
    assert (chain.timeline, chain.files, chain.last) == (2, 4, "000000020000000000000006")
    history.write_text("1\t0/3000010\tbefore the backup's end\n")
    with pytest.raises(DeployError, match="does not follow from the backup"):
        folder.chain(base)
