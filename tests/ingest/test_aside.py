import json
import threading

import pytest

from ingest import aside, catalogue, feed, read
from ingest.aside import Correction
from ingest.database import connect
from ingest.errors import AsideError
from ingest.reading import Written
from ingest.store import Writer
from station_agent.drivers import read_file
from station_agent.wire import Kind
from tests.ingest.payloads import CATALOGUE, START, batch, census, event, said, samples

WHO = {"who": "me", "why": "typing error"}


def only(store):
    (entry,) = aside.entries(store)
    return entry


def test_an_unknown_station_is_stored_by_replay_once_it_is_in_the_catalogue(store, writer):
    writer.write([said(batch(samples(10), seq=k), station="shangdianzi") for k in (1, 2)])
    assert [e.station for e in aside.entries(store)] == ["shangdianzi"] * 2
    assert aside.replay(store) == aside.Replayed(0, 2, Written())
    catalogue.apply(store, {"station": [{**CATALOGUE["station"][0], "name": "shangdianzi"}]})
    assert aside.replay(store) == aside.Replayed(2, 0, Written(new=40, same=40))
    assert aside.entries(store) == []
    assert read.readings(store, station="shangdianzi", instrument="g2301").sizes["time"] == 10
    assert aside.replay(store) == aside.Replayed(0, 0, Written())


def test_a_station_mapped_to_another_is_stored_there_and_seen_by_jobs(store, writer):
    writer.write([said(batch(samples(10)), station="linan")])
    with connect(store) as conn, conn.transaction():
        assert feed.changes(conn, "qc") == []
    assert aside.mend(store, only(store).id, Correction(station="lin-an"), **WHO) is None
    assert only(store).mends[0].what == {"station": "lin-an"}
    assert aside.replay(store).stored == 1
    assert read.readings(store, station="lin-an", instrument="g2301").sizes["time"] == 10
    with connect(store) as conn, conn.transaction():
        assert [c.station for c in feed.changes(conn, "qc")] == ["lin-an"]


def test_a_quantity_of_another_name_and_a_replaced_payload(store, writer):
    raw = json.dumps({"v": 1, "spool": "s", "seq": 1, "t": [START * 1000], "q": {"CO2": [400.5]}}).encode()
    writer.write([said(raw), said(b"broken")])
    first, second = aside.entries(store)
    if first.size != len(raw):
        first, second = second, first
    assert "not a valid name" in first.reason
    assert aside.mend(store, first.id, Correction(rename={"CO2": "co2"}), **WHO) is None
    left = aside.mend(store, second.id, Correction(payload=b"still broken"), **WHO)
    assert "neither JSON nor zlib" in left
    assert aside.mend(store, second.id, Correction(payload=batch(samples(2))), **WHO) is None
    assert aside.replay(store, ids=[second.id]) == aside.Replayed(1, 0, Written(new=8))
    assert aside.replay(store) == aside.Replayed(1, 0, Written(aside=1))
    (row,) = aside.rows(store)
    assert (row.station, row.quantity, row.value, row.standing) == ("lin-an", "co2", 400.5, 400.0)


def test_a_rejected_line_is_mended_by_a_corrected_one(store, writer, shared):
    lines = (shared / "data/instruments/picarro_g2301_hour.dat").read_text().splitlines()
    (own,) = [i for i in range(1, 4) if " 1.0000000000E+000 " in lines[i][:240] and "963" in lines[i]][:1]
    detail = {
        "driver": "picarro",
        "file": "DataLog_User.dat",
        "line": own + 1,
        "header": lines[0],
        "text": lines[own][:100] + "\0\0",
        "reason": "the line ends in the middle",
        "options": {},
    }
    at = round(read_first(shared).time_ns / 10**9)
    writer.write([said(event("line_rejected", detail=detail, at=at), kind=Kind.EVENT)])
    entry = only(store)
    assert entry.reason == f"DataLog_User.dat line {own + 1}: the line ends in the middle"
    assert "DataLog_User.dat" in aside.show(store, entry.id).text
    with pytest.raises(AsideError, match=r"the corrected line cannot be used: .*still cannot be read"):
        aside.mend(store, entry.id, Correction(line=lines[own][:100]), **WHO)
    assert aside.mend(store, entry.id, Correction(line=lines[own]), **WHO) is None
    assert aside.replay(store).stored == 1
    ds = read.readings(store, station="lin-an", instrument="g2301")
    expected = list(read_file(shared / "data/instruments/picarro_g2301_hour.dat"))[own - 1]
    assert {name: float(ds[name][0]) for name in expected.values} == expected.values
    assert ds.time.values.astype(int).tolist() == [expected.time_ns]
    assert census(store)["events"] == 0


def read_first(shared):
    return next(iter(read_file(shared / "data/instruments/picarro_g2301_hour.dat")))


def test_what_is_given_up_stays_and_frees_the_quota(store, writer):
    junk = said(b"junk")
    writer.write([junk])
    aside.discard(store, only(store).id, who="me", why="noise")
    assert aside.entries(store) == []
    assert census(store)["discarded"] == 1
    assert writer.write([junk]).results[0].repeated
    with pytest.raises(AsideError, match="is discarded, expected one that is kept aside"):
        aside.mend(store, 1, Correction(station="x"), **WHO)


@pytest.mark.parametrize(
    ("correction", "who", "sentence"),
    [
        (Correction(), WHO, "stays as it is"),
        (Correction(station="x"), {"who": " ", "why": "x"}, "who made it and why"),
        (Correction(line="x"), WHO, "only a line that a driver rejected"),
    ],
)
def test_mends_that_mend_nothing_are_refused(plain_store, correction, who, sentence):
    with connect(plain_store) as conn:
        Writer(conn).write([said(batch(samples()), station="nowhere"), said(batch(samples(1), seq=9))])
    with pytest.raises(AsideError, match=sentence):
        aside.mend(plain_store, only(plain_store).id, correction, **who)
    with pytest.raises(AsideError, match="message 999 is not in the store"):
        aside.show(plain_store, 999)
    stored = 3 - only(plain_store).id
    with pytest.raises(AsideError, match=f"message {stored} is stored, expected one that is kept aside"):
        aside.replay(plain_store, ids=[stored])


def test_a_mend_does_not_slip_between_what_replay_read_and_what_it_stores(store, writer, monkeypatch):
    """Else the message would be stored without it, and a rebuild would apply it."""
    writer.write([said(batch(samples(3)), station="linan")])
    number = only(store).id
    aside.mend(store, number, Correction(station="lin-an"), **WHO)
    refused = []

    def mend_late():
        try:
            aside.mend(store, number, Correction(rename={"co2": "ch4"}), **WHO)
        except AsideError as error:
            refused.append(str(error))

    late = threading.Thread(target=mend_late)
    groups = aside._groups

    def slow(*args, **kwargs):
        for group in groups(*args, **kwargs):
            late.start()
            late.join(0.5)
            yield group

    monkeypatch.setattr(aside, "_groups", slow)
    assert aside.replay(store).stored == 1
    late.join(10)
    assert refused == [f"message {number} is stored, expected one that is kept aside: see `skyledger aside list`"]
