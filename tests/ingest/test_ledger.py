"""The ledger of flags by hand: rows are added, superseded, withdrawn, taken over; the jobs hear of them."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from ingest import ledger
from ingest.errors import FileError, StoreError
from ingest.ledger import Decision
from qc.flags import Flag
from tests.ingest.payloads import START, batch, said, samples
from tests.ingest.test_feed import new

BEGIN = datetime.fromtimestamp(START, UTC)
WHAT = {"station": "lin-an", "start": BEGIN, "end": BEGIN + timedelta(hours=1), "author": "Li", "reason": "leak"}


def decision(**changes):
    return Decision(**{**WHAT, "flag": "bad"} | changes)


def test_rows_are_added_superseded_and_withdrawn(plain_store):
    first = ledger.add(plain_store, decision())
    second = ledger.add(
        plain_store, decision(flag="suspect", gas="co2", instrument="g2301", inlet="50m", port="1"), supersedes=first
    )
    third = ledger.withdraw(plain_store, second, author="Wu", reason="no leak after all")
    rows = ledger.rows(plain_store, "lin-an")
    assert [(r.number, r.superseded, r.in_force) for r in rows] == [
        (first, second, False), (second, third, False), (third, None, False)
    ]  # fmt: skip
    assert (rows[1].flag, rows[1].gas, rows[1].instrument, rows[1].inlet, rows[1].port) == (
        Flag.SUSPECT, "co2", "g2301", "50m", "1"
    )  # fmt: skip
    assert (rows[2].author, rows[2].gas, rows[2].start) == ("Wu", "co2", BEGIN)
    fourth = ledger.add(plain_store, decision(flag="good"))
    assert [r.number for r in ledger.rows(plain_store) if r.in_force] == [fourth]
    assert ledger.rows(plain_store, "wuhan") == []
    assert ledger.rows(plain_store, start=BEGIN + timedelta(hours=1)) == []


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"station": "nowhere"}, "station 'nowhere' is not in the catalogue"),
        ({"instrument": "x"}, "instrument 'x' of station 'lin-an' is not in the catalogue"),
        ({"inlet": "7m"}, "inlet '7m' of station 'lin-an' is not in the catalogue"),
        ({"gas": "h2o"}, "gas 'h2o' is none, expected one of co2"),
        ({"flag": "awful"}, "flag 'awful' is none, expected one of good, suspect, bad"),
        ({"reason": " "}, "needs an author and a reason"),
        ({"end": BEGIN}, "is empty: give its end after its start"),
    ],
)
def test_what_cannot_be_is_said(plain_store, change, sentence):
    with pytest.raises(StoreError, match=sentence):
        ledger.add(plain_store, decision(**change))
    assert ledger.rows(plain_store) == []


def test_a_row_is_superseded_once(plain_store):
    first = ledger.add(plain_store, decision())
    ledger.withdraw(plain_store, first, author="Li", reason="wrong day")
    with pytest.raises(StoreError, match=f"row {first} of the ledger is superseded already"):
        ledger.add(plain_store, decision(), supersedes=first)
    with pytest.raises(StoreError, match="row 99 of the ledger is none"):
        ledger.add(plain_store, decision(), supersedes=99)
    with pytest.raises(StoreError, match="row 99 of the ledger is none"):
        ledger.withdraw(plain_store, 99, author="Li", reason="x")


def test_the_change_feed_tells_of_it_once(store, writer):
    writer.write([said(batch(samples(10)))])
    new(store)
    ledger.add(store, decision(instrument="g2301"))
    (change,) = new(store)
    assert (change.station, change.instrument) == ("lin-an", "g2301")
    assert str(change.start)[:19] == f"{BEGIN:%Y-%m-%dT%H:%M:%S}"
    assert str(change.end)[:19] == f"{BEGIN + timedelta(hours=1):%Y-%m-%dT%H:%M:%S}"
    assert new(store) == []
    ledger.add(store, decision())  # of all instruments of the station
    assert {change.instrument for change in new(store)} == {"g2301", "li850"}


def test_uataqs_ledger_is_taken_over(plain_store, shared):
    path = shared / "data/qc_rules/uataq_manual_ledger_wbb.csv"
    done = ledger.take_over_uataq(plain_store, path, station="lin-an")
    assert (done.flags, done.corrections, len(done.left_out)) == (746, 8, 6)
    assert done.left_out[0].endswith("line 123: t_end 2022-03-24T02:27:08Z is before t_start 2022-03-24T02:27:38Z")
    rows = ledger.rows(plain_store, "lin-an")
    assert len(rows) == 746
    assert all(row.flag is Flag.BAD for row in rows)
    assert rows[0].reason == "All data prior to this is junk"
    assert (rows[0].author, rows[0].made) == ("Rayn", datetime(2018, 8, 13, 21, 27, 14, tzinfo=UTC))
    assert rows[1].port == "V:3 639.48"
    with psycopg.connect(plain_store) as conn:
        said_of = conn.execute("SELECT said, was FROM cylinder_correction ORDER BY id").fetchall()
        assert ("~447.88~2.99", "~504.01~4.60") in said_of
        with pytest.raises(psycopg.errors.RaiseException, match="never changed"):
            conn.execute("DELETE FROM cylinder_correction")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("t_start,", "start,"), "line 1: columns start, t_end"),
        (("2014-09-10T15:19:00Z", "soon"), "line 2: t_end is 'soon', expected a time"),
        ((",Rayn,", ","), "line 2: 6 cells, expected 7"),
    ],
)
def test_a_ledger_that_is_none_is_taken_over_not_at_all(plain_store, shared, tmp_path, change, sentence):
    text = (shared / "data/qc_rules/uataq_manual_ledger_wbb.csv").read_text()
    (tmp_path / "l.csv").write_text(text.replace(*change, 1))
    with pytest.raises(FileError, match=sentence):
        ledger.take_over_uataq(plain_store, tmp_path / "l.csv", station="lin-an")
    assert ledger.rows(plain_store) == []
