"""What tables take is what the server says they take."""

import psycopg
import pytest
from typer.testing import CliRunner

from deploy.cli import app
from ingest import preview, size
from ingest.database import connect
from ingest.store import Writer
from tests.ingest.payloads import batch, said, samples
from tests.ingest.test_dump import tables


@pytest.fixture
def filled(store):
    with connect(store) as conn:
        writer = Writer(conn)
        for number in range(20):
            writer.write([said(batch(samples(first=1_790_000_000 + 60 * number), seq=number + 1))])
        preview.refresh(conn)
    return store


def test_rows_and_bytes_of_everything(filled):
    found = {one.table: one for one in size.sizes(filled)}
    assert set(found) == {*size.LARGE, "others"}
    assert (found["message"].rows, found["message"].readings) == (20, 20 * 60 * 4)
    assert found["reading"].rows == 20 * 60 * 4
    assert found["preview_day"].rows >= 4
    with psycopg.connect(filled) as conn:
        (message,) = conn.execute("SELECT pg_total_relation_size('message')").fetchone()
        ours = 0
        for name in tables(filled) - {"reading"}:
            ours += conn.execute("SELECT pg_total_relation_size(%s::regclass)", [name]).fetchone()[0]
    assert found["message"].size == message
    assert sum(one.size for one in found.values()) - found["reading"].size == ours
    assert 60 < found["reading"].size / found["reading"].rows < 200


def test_what_is_large_is_estimated_and_says_so(filled, monkeypatch):
    with psycopg.connect(filled, autocommit=True) as conn:
        conn.execute("ANALYZE")
    monkeypatch.setattr(size, "COUNTED", 2**14)
    found = {one.table: one for one in size.sizes(filled)}
    assert not found["reading"].counted
    assert found["reading"].rows == pytest.approx(20 * 60 * 4, rel=0.02)
    assert "about 4,8" in str(found["reading"])
    assert found["hour"].counted


def test_the_command_prints_bytes_a_row_and_a_reading(filled):
    done = CliRunner().invoke(app, ["db", "size", "--dsn", filled])
    assert done.exit_code == 0, done.exception
    lines = {line.split()[0]: line for line in done.output.splitlines()}
    assert "bytes a row, " in lines["message"]
    assert "a reading in it (4,800)" in lines["message"]
    assert "4,800 rows" in lines["reading"]
