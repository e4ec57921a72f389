"""The small tables as files, and back: everything in them, nothing altered, nothing half."""

import csv
import hashlib
import json
import os
import subprocess
from datetime import UTC, date, datetime, timedelta

import numpy as np
import psycopg
import pytest
from typer.testing import CliRunner

from deploy.cli import app
from ingest import catalogue, dump, ledger, products
from ingest.database import connect
from ingest.errors import StoreError
from ingest.ledger import Decision
from ingest.migrate import migrate
from ingest.products import InventoryEntry, InversionRun, Region
from ingest.store import Writer
from station_agent.wire import Kind
from tests import servers
from tests.ingest.payloads import CATALOGUE, START, batch, event, said, samples
from tests.ingest.test_feed import new
from tests.servers import fresh_database

BEGIN = datetime.fromtimestamp(START, UTC)
NASTY = 'a "word", 临安\n\\N \\x41;\tend'
CYLINDERS = {
    "cylinder": [{"name": "CB1", "species": "co2", "value": 1e-300, "scale": "WMO CO2 X2019"}],
}
FURTHER = """
INSERT INTO backfill (digest, file, station, target, format)
    VALUES (decode(repeat('0a', 16), 'hex'), '', 'lin-an', '', '');
INSERT INTO replacement (backfill_id, who, why, first, until)
    SELECT id, 'x', 'y', '-infinity', 'infinity' FROM backfill;
INSERT INTO qc_run (inlet_id, covers, code_version, configuration, inputs, gases)
    SELECT min(id), '[2025-07-01 00:00:00.123456+08,2025-07-02)', '', '', '{"a": [1, null]}', '{}' FROM inlet;
INSERT INTO qc_series (instrument_id, inlet_id, settings, cylinders) SELECT min(i.id), min(n.id), '', '[]'
    FROM instrument i, inlet n;
INSERT INTO injection (instrument_id, species, cylinder, t_from, t_to, mean, minutes)
    SELECT min(id), 'co2', 'CB1', '2025-07-01', '2025-07-01 00:10', 'NaN', 1 FROM instrument;
INSERT INTO cylinder_correction (author, reason, station_id, t_from, t_to, said, was)
    SELECT 'x', 'y', min(id), '2025-07-01', '2025-07-02', 'CB1', 'CB2' FROM station;
INSERT INTO station_status (station, status) VALUES ('lin-an', '{"queue": 0.1}');
"""


@pytest.fixture
def full(store):
    """A store with something in each of the small tables, and readings."""
    catalogue.apply(store, CYLINDERS)
    with connect(store) as conn:
        writer = Writer(conn)
        writer.write([said(batch(samples()))])
        writer.write([said(event(detail={"why": NASTY}, seq=2), kind=Kind.EVENT)])
        conn.execute(FURTHER)
        regions = [Region("CN-ZJ", "Gg a-1", 10, 5, 12, 0.1 + 0.2)]
        run = InversionRun("co2", "2026-01-01", "2026-02-01", "1.0", "abc", {}, {"chi2": 1.1}, ["fine"])
        year = (date(2025, 1, 1), date(2025, 12, 31))
        with conn.transaction():
            products.write_inversion(conn, run, regions, covariance=np.array([[(0.1 + 0.2) ** 2]]))
            products.write_inventory(
                conn, [InventoryEntry("provincial", "CN-ZJ", "co2", *year, None, "Tg a-1", notation="NE")]
            )
    flag(store, NASTY)
    return store


def flag(dsn, reason):
    decision = Decision(
        station="lin-an", start=BEGIN, end=BEGIN + timedelta(hours=1), flag="bad", author="李", reason=reason
    )
    return ledger.add(dsn, decision)


@pytest.fixture
def exported(full, tmp_path):
    dump.export(full, tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def empty(postgres_server):
    with fresh_database(postgres_server.dsn) as dsn:
        migrate(dsn)
        yield dsn


def tables(dsn):
    with psycopg.connect(dsn) as conn:
        return {
            name
            for (name,) in conn.execute(
                "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"
                " AND NOT relispartition"
            )
        }


def test_every_table_is_written_or_left_out_for_a_reason(store):
    assert tables(store) == set(dump.TABLES) | set(dump.LEFT_OUT)
    assert not set(dump.TABLES) & set(dump.LEFT_OUT)
    assert all(dump.LEFT_OUT.values())


def test_all_comes_back_to_the_last_bit_also_on_the_other_kind_of_server(full, exported, empty, tmp_path):
    rows = json.loads((exported / "manifest.json").read_bytes())["tables"]
    assert [name for name in dump.TABLES if rows[name]["rows"] == 0] == []
    assert rows["message"]["rows"] == 1  # the event's, not the readings'
    dump.restore(empty, exported)
    dump.export(empty, tmp_path / "again")
    for name in dump.TABLES:
        assert (exported / f"{name}.csv").read_bytes() == (tmp_path / "again" / f"{name}.csv").read_bytes()
    assert ledger.rows(empty)[0].reason == NASTY
    # It goes on from there: new numbers, new decisions and readings, and jobs hear of all of it.
    assert flag(empty, "later") == ledger.rows(full)[-1].number + 1
    with connect(empty) as conn:
        assert Writer(conn).write([said(batch(samples()))]).results[0].outcome == "stored"
        assert Writer(conn).write([said(event(detail={"why": NASTY}, seq=2), kind=Kind.EVENT)]).results[0].repeated
    assert {change.station for change in new(empty, "job")} == {"lin-an"}


def test_the_files_are_read_without_skyledger(exported):
    checked = subprocess.run(
        ["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=exported, capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.count(b": OK") == len(dump.TABLES) + 1
    with (exported / "manual_flag.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["author"], row["reason"]) == ("李", NASTY)
    assert datetime.fromisoformat(row["t_from"]) == BEGIN
    with (exported / "posterior_region.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert float(row["posterior_sd"]) == 0.1 + 0.2
    manifest = json.loads((exported / "manifest.json").read_bytes())
    assert manifest["schema"][-1][:2] == [15, "owner"]


def spoil_a_value(folder):
    path = folder / "inventory_entry.csv"
    path.write_bytes(path.read_bytes().replace(b"NE", b"NO"))


def take_a_file_away(folder):
    (folder / "event.csv").unlink()


def put_a_file_in(folder):
    (folder / "more.csv").write_text("x\n")


def cut_it_short(folder):
    path = folder / "SHA256SUMS"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))


def sign_fewer_rows(folder):
    """With sums to match: what is left is the count in the manifest."""
    path = folder / "station.csv"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    sums = folder / "SHA256SUMS"
    lines = [line.partition("  ")[2] for line in sums.read_text().splitlines()]
    sums.write_text("".join(f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in lines))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (spoil_a_value, r"inventory_entry.csv was altered or damaged: its SHA-256 is .*; copy it again"),
        (take_a_file_away, r"does not hold what its SHA256SUMS says \(see event.csv\)"),
        (put_a_file_in, r"see more.csv"),
        (cut_it_short, r"see station_status.csv"),
        (sign_fewer_rows, r"station.csv has 2 rows, its manifest says 3"),
        (lambda folder: (folder / "SHA256SUMS").unlink(), r"is no export of tables: .*SHA256SUMS"),
    ],
)
def test_what_was_altered_or_is_not_all_there_is_refused_and_nothing_comes_in(exported, empty, spoil, sentence):
    spoil(exported)
    with pytest.raises(StoreError, match=sentence):
        dump.restore(empty, exported)
    with psycopg.connect(empty) as conn:
        for name in dump.TABLES:
            assert conn.execute(f"SELECT count(*) FROM {name}").fetchone() == (0,)


def test_it_comes_into_an_empty_database_of_the_same_schema_alone(full, exported, empty, postgres_server):
    with pytest.raises(StoreError, match=r"table station of database .* has rows already: .*new database"):
        dump.restore(full, exported)
    with pytest.raises(StoreError, match=r"is there already: give a folder that is not"):
        dump.export(full, exported)
    runner = CliRunner()
    with fresh_database(postgres_server.dsn) as bare:
        done = runner.invoke(app, ["db", "import", str(exported), "--dsn", bare])
    assert "migrations, first 0001 catalogue: run `skyledger db migrate`" in str(done.exception)
    with psycopg.connect(empty) as conn:
        conn.execute("UPDATE migration SET checksum = 'x' WHERE version = 1")
    done = runner.invoke(app, ["db", "import", str(exported), "--dsn", empty])
    assert "checksum" in str(done.exception)


def test_the_commands_say_how_much(full, empty, tmp_path):
    runner = CliRunner()
    done = runner.invoke(app, ["db", "export", str(tmp_path / "out"), "--dsn", full])
    assert done.exit_code == 0, done.exception
    assert f"rows of {len(dump.TABLES)} tables" in done.output
    done = runner.invoke(app, ["db", "import", str(tmp_path / "out"), "--dsn", empty])
    assert done.exit_code == 0, done.exception
    assert f"tables were brought in from {tmp_path / 'out'}" in done.output


def test_a_full_disk_leaves_nothing_half(full, tmp_path):
    (tmp_path / "disk").mkdir()
    try:
        disk = servers.SmallDisk(tmp_path / "disk", 1)
    except (OSError, subprocess.CalledProcessError):
        if os.geteuid() == 0:
            servers.absent("a small disk cannot be mounted here, though we are root")
        pytest.skip("a small disk cannot be mounted here: it takes root")
    try:
        disk.fill()
        with pytest.raises(StoreError, match=r"cannot be written: No space left on device; nothing was left there"):
            dump.export(full, tmp_path / "disk/out")
        assert [path.name for path in (tmp_path / "disk").iterdir()] == ["ballast"]
        disk.empty()
        dump.export(full, tmp_path / "disk/out")
    finally:
        disk.remove()


def test_it_is_of_one_moment(plain_dsn, tmp_path, monkeypatch):
    """What is decided while it is written is in it wholly or not at all."""
    migrate(plain_dsn)
    written = dump._write

    def slowly(conn, table, folder):
        if table == "event":  # after the messages were written
            with connect(plain_dsn) as other:
                catalogue.apply(plain_dsn, CATALOGUE)
                Writer(other).write([said(event(), kind=Kind.EVENT)])
        return written(conn, table, folder)

    monkeypatch.setattr(dump, "_write", slowly)
    rows = dump.export(plain_dsn, tmp_path / "out")
    assert (rows["message"], rows["event"]) == (0, 0)
