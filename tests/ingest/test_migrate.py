import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest

from ingest import partition
from ingest.database import Level, connect, level
from ingest.errors import MigrationError, StoreError
from ingest.migrate import applied, migrate, migrations, pending, require_current
from ingest.status import status

NEWEST = migrations()[-1].version


def test_twice_changes_nothing_and_all_tables_are_there(dsn):
    names = migrate(dsn)
    assert names == [f"{m.version:04d} {m.name}" for m in migrations() if m.variant != "timescale"]
    assert migrate(dsn) == []
    with connect(dsn) as conn:
        require_current(conn)
        tables = {name for (name,) in conn.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
    assert tables >= {"message", "reading", "reading_aside", "state", "station", "minute", "hour", "manual_flag"}


def test_the_level_is_what_the_server_has(plain_dsn):
    migrate(plain_dsn)
    with connect(plain_dsn) as conn:
        assert level(conn) is Level.PLAIN
        assert conn.execute("SELECT relkind FROM pg_class WHERE relname = 'reading'").fetchone() == ("p",)
    assert dict(status(plain_dsn))["store"].startswith("PostgreSQL alone")


@pytest.mark.timescale
def test_on_timescale_reading_is_a_hypertable(timescale_dsn):
    migrate(timescale_dsn)
    with connect(timescale_dsn) as conn:
        assert level(conn) in (Level.TIMESCALE_APACHE, Level.TIMESCALE_FULL)
        found = conn.execute("SELECT hypertable_name FROM timescaledb_information.hypertables").fetchall()
    assert found == [("reading",)]
    assert "TimescaleDB" in dict(status(timescale_dsn))["store"]


@pytest.mark.timescale
def test_a_store_made_on_postgresql_alone_stays_on_it(timescale_dsn):
    plain = [step for step in migrations() if step.variant != "timescale"]
    with connect(timescale_dsn) as conn:
        conn.execute(
            "CREATE TABLE migration (version int, name text, variant text, checksum text, applied timestamptz)"
        )
        conn.execute("INSERT INTO migration VALUES (0, 'made', 'plain', '', now())")
    steps = [replace(plain[0], version=0, name="made", variant="plain"), *plain]
    with connect(timescale_dsn) as conn:
        conn.execute("UPDATE migration SET checksum = %s", [steps[0].checksum])
    migrate(timescale_dsn, steps=steps)
    with connect(timescale_dsn) as conn:
        assert level(conn) is Level.PLAIN
        assert conn.execute("SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'").fetchone() == (0,)


def test_a_migration_that_was_edited_is_refused(plain_dsn):
    steps = migrations()
    migrate(plain_dsn, steps=steps)
    edited = [replace(step, sql=step.sql + b"\n-- ") if step.version == 2 else step for step in steps]
    with pytest.raises(MigrationError, match=r"0002 message was applied on .* but reads .* never edited"):
        migrate(plain_dsn, steps=edited)


def test_a_database_of_a_newer_version_is_refused(plain_dsn):
    steps = migrations()
    migrate(plain_dsn, steps=steps)
    with pytest.raises(MigrationError, match=rf"{steps[-1]}, which this version does not know .*update skyledger"):
        migrate(plain_dsn, steps=[step for step in steps if step.version < NEWEST])


def test_a_step_that_fails_leaves_what_was_there_and_says_so(plain_dsn):
    steps = migrations()
    broken = replace(steps[-1], version=NEWEST + 1, name="broken", sql=b"CREATE TABLE x (a int); SELECT 1/0")
    with pytest.raises(MigrationError, match=r"broken failed and was rolled back: division by zero"):
        migrate(plain_dsn, steps=[*steps, broken])
    with connect(plain_dsn) as conn:
        assert [record.version for record in applied(conn)] == list(range(1, NEWEST + 1))
        assert conn.execute("SELECT to_regclass('x')").fetchone() == (None,)
        assert [step.name for step in pending(conn, [*steps, broken])] == ["broken"]


def test_a_filled_database_takes_a_new_step(store):
    steps = [
        *migrations(),
        replace(migrations()[0], version=NEWEST + 1, name="more", sql=b"ALTER TABLE station ADD more text"),
    ]
    assert migrate(store, steps=steps) == [f"{NEWEST + 1:04d} more"]
    with connect(store) as conn:
        assert conn.execute("SELECT count(*), count(more) FROM station").fetchone() == (3, 0)


def test_a_filled_database_is_upgraded(dsn):
    """A database of an earlier version, with stations, messages and readings in it, takes each step since."""
    migrate(dsn, steps=[step for step in migrations() if step.version < 5])
    values = {"spool": "s", "said": "[1, 2]", "at": "2026-01-01T00:00:00Z"}
    with connect(dsn) as conn:
        if level(conn) is Level.PLAIN:
            partition.create(conn, [(datetime(2026, 1, 1, tzinfo=UTC) - partition.EPOCH).days])
        conn.execute("INSERT INTO station (name, latitude, longitude, altitude) VALUES ('lin-an', 30, 120, 139)")
        conn.execute("INSERT INTO instrument (station_id, name) SELECT id, 'g2301' FROM station")
        for number in range(3):
            conn.execute(
                "INSERT INTO message (station, instrument, kind, digest, spool, seq, instrument_id, state, payload)"
                " SELECT 'lin-an', 'g2301', 'event', decode(md5(%s), 'hex'), 's', %s, id, 'stored', ''"
                " FROM instrument ORDER BY id LIMIT 1",
                [str(number), number + 1],
            )
        conn.execute(
            "INSERT INTO event (message_id, instrument_id, time, event, detail)"
            " SELECT id, instrument_id, %(at)s, 'valve', jsonb_build_object('n', seq / 3) FROM message",
            values,
        )
        conn.execute("INSERT INTO reading VALUES (%(at)s, 400.0, 1, 1)", values)
    assert migrate(dsn) == [str(step) for step in migrations() if step.version > 4]
    with connect(dsn) as conn:
        require_current(conn)
        # Two had said the same: the first stands, both messages stay.
        assert conn.execute("SELECT message_id, detail FROM event ORDER BY 1").fetchall() == [
            (1, {"n": 0}),
            (3, {"n": 1}),
        ]
        assert conn.execute("SELECT count(*) FROM message").fetchone() == (3,)
        assert conn.execute("SELECT count(*) FROM reading").fetchone() == (1,)


def test_several_at_once_apply_each_step_once(dsn):
    code = "import sys; from ingest.migrate import migrate; print(len(migrate(sys.argv[1])))"
    running = [subprocess.Popen([sys.executable, "-c", code, dsn], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    counts = [int(process.communicate(timeout=60)[0]) for process in running]
    assert sorted(counts) == [0, 0, NEWEST]


def test_without_a_schema_and_without_a_database_there_is_one_sentence(plain_dsn):
    with (
        connect(plain_dsn) as conn,
        pytest.raises(MigrationError, match=f"lacks {NEWEST} migrations, first 0001 catalogue: run"),
    ):
        require_current(conn)
    with pytest.raises(StoreError, match=r"cannot connect to the database: .*is it running"):
        connect("host=/nowhere dbname=x")


def test_the_ledger_of_manual_flags_is_append_only(plain_store):
    with psycopg.connect(plain_store, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO manual_flag (author, reason, station_id, t_from, t_to, flag)"
            " VALUES ('me', 'pump', 1, '2026-01-01', '2026-01-02', 4)"
        )
        for change in ("UPDATE manual_flag SET flag = 1", "DELETE FROM manual_flag", "TRUNCATE manual_flag"):
            with pytest.raises(psycopg.errors.RaiseException, match="never changed or deleted"):
                conn.execute(change)
