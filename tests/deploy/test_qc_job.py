"""The quality-control job off the change feed, on both levels of the store."""

import sys
import time

import numpy as np
import pytest

from deploy.__main__ import main
from deploy.errors import DeployError
from deploy.jobs import evaluation, qc
from ingest import catalogue, decode, feed, read
from ingest.database import connect
from ingest.migrate import migrate
from ingest.store import Writer
from qc.flags import Cause
from station_agent.sample import Sample
from station_agent.wire import encode_batch, instrument_topic, parse_topic
from tests.deploy.processes import eventually
from tests.path.network import INSTRUMENT, STATION, document

START = 1_751_328_000  # 2025-07-01T00:00:00Z
TORR = 1.333223684


def samples(seconds, *, co2=420.0, pressure=140.0, status=963):
    """A row every 20 s: gas, then water and cell pressure beside it."""
    for second in seconds:
        at = (START + second) * 10**9
        moves = 0.0004 * (second // 60 % 2 * 2 - 1)  # else it is a flat line
        yield Sample(
            at, {"co2": co2 + moves, "cavity_pressure": pressure * TORR, "h2o_reported": 0.0}, port="10", status=status
        )


@pytest.fixture
def store(dsn):
    migrate(dsn)
    catalogue.apply(dsn, document())
    return dsn


def put(dsn, batch, *, seq, instrument=INSTRUMENT):
    payload = encode_batch(list(batch), spool="s", seq=seq)
    topic = parse_topic(instrument_topic(STATION, instrument, "data"))
    said = decode.contents(decode.Message.received(topic, payload), now_ms=int(time.time() * 1000))
    with connect(dsn) as conn:
        assert Writer(conn).write([said]).results[0].outcome == "stored"
        assert eventually(lambda: feed.settled(conn))


def hours(dsn):
    return read.hourly(dsn, station=STATION, inlet="50m", species=["co2"])


def series():
    return qc.network_configuration()


def test_new_readings_become_hours_once(store):
    put(store, samples(range(0, 7200, 20)), seq=1)
    (result,) = qc.run_once(store, series())
    assert (result.minutes, result.hours.sizes["time"]) == (120, 2)
    ds = hours(store)
    np.testing.assert_allclose(ds["co2"].values, 420.0, rtol=0, atol=1e-4)
    assert ds["co2_flag"].values.tolist() == [1, 1]
    assert qc.run_once(store, series()) == []


def test_late_readings_rewrite_their_hour_and_no_other(store):
    put(store, samples(range(1800, 3600, 20)), seq=1)
    put(store, samples(range(3600, 7200, 20)), seq=2)
    qc.run_once(store, series())
    first = hours(store)
    put(store, samples(range(0, 1800, 20), co2=440.0), seq=3)
    (result,) = qc.run_once(store, series())
    assert result.hours.sizes["time"] == 1
    second = hours(store)
    assert second["co2"].values[0] == pytest.approx(430.0, abs=0.2)
    assert second["co2_n"].values[0] > first["co2_n"].values[0]
    assert second["co2"].values[1] == first["co2"].values[1]


def test_an_hour_in_which_the_cell_pressure_was_off_is_bad(store):
    put(store, samples(range(0, 3600, 20), pressure=142.0), seq=1)
    qc.run_once(store, series())
    ds = hours(store)
    assert ds["co2_flag"].values.tolist() == [4]
    assert np.isnan(ds["co2"].values).all()


def test_what_is_not_committed_is_seen_again(store, monkeypatch):
    put(store, samples(range(0, 3600, 20)), seq=1)
    with monkeypatch.context() as patch:
        patch.setattr(qc.products, "write", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            qc.run_once(store, series())
    assert len(qc.run_once(store, series())) == 1
    assert hours(store).sizes["time"] == 1


def test_an_instrument_without_configuration_says_so(store):
    put(store, samples(range(0, 3600, 20)), seq=1)
    (result,) = qc.run_once(store, [{"model": "LGR*"}])
    assert "no [[series]] fits g2301 (Picarro G2301)" in str(result)


def test_a_configuration_file_with_something_else_in_it(tmp_path):
    path = tmp_path / "qc.toml"
    path.write_text('[[serie]]\nmodel = "*"\n')
    with pytest.raises(DeployError, match=r"qc\.toml has serie at the top, expected \[\[series\]\] only"):
        qc.network_configuration(path)
    path.write_text("[[series")
    with pytest.raises(DeployError, match="cannot be read"):
        qc.network_configuration(path)


def test_readings_just_before_an_hour_rewrite_that_one_too(store):
    put(store, samples(range(3600, 7200, 20)), seq=1)
    qc.run_once(store, series())
    put(store, samples(range(3000, 3600, 20)), seq=2)  # they say the inlet was not just reached, so nothing is flushed
    (result,) = qc.run_once(store, series())
    assert result.hours.sizes["time"] == 2
    assert hours(store)["co2_n"].values.tolist() == [28, 180]


def test_a_long_stretch_is_read_in_pieces_with_the_same_result(store, monkeypatch):
    put(store, samples(range(0, 5 * 3600, 20)), seq=1)
    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "PIECE", np.timedelta64(7200 * 10**9, "ns"))
        results = qc.run_once(store, series())
    assert [result.hours.sizes["time"] for result in results] == [2, 2, 1]
    assert hours(store)["co2_n"].values.tolist() == [178, 180, 180, 180, 180]


def test_a_flag_by_hand_changes_its_window_and_nothing_else(store, monkeypatch, capsys):
    put(store, samples(range(0, 4 * 3600, 20)), seq=1)
    qc.run_once(store, series())
    before = hours(store)

    def skyledger(*arguments):
        monkeypatch.setattr(sys, "argv", ["skyledger", "qc", *arguments, "--dsn", store])
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code
        return capsys.readouterr().out.strip()

    why = ("--why", "visitors", "--who", "Li Hua")
    said = skyledger("flag", STATION, "--from", "2025-07-01T01:00", "--to", "2025-07-01T02:00", "--gas", "co2", *why)
    assert said.startswith("row 1: bad from 2025-07-01T01:00")
    assert "1: bad" in skyledger("ledger", STATION)
    assert eventually(lambda: settled(store))
    results = qc.run_once(store, series())
    assert results
    after = hours(store)
    assert after["co2_flag"].values.tolist() == [1, 4, 1, 1]
    assert after["co2_cause"].values[1] & Cause.MANUAL
    np.testing.assert_array_equal(after["co2"].values[[0, 2, 3]], before["co2"].values[[0, 2, 3]])
    assert qc.run_once(store, series()) == []
    assert skyledger("withdraw", "1", "--why", "the next street", "--who", "Li Hua").startswith("row 2 withdraws row 1")
    assert eventually(lambda: settled(store))
    qc.run_once(store, series())
    np.testing.assert_array_equal(hours(store)["co2"].values, before["co2"].values)
    assert skyledger("ledger", STATION) == ""
    assert "(no longer in force)" in skyledger("ledger", STATION, "--all")


def settled(dsn):
    """Whether a job would hear of everything by now."""
    with connect(dsn) as conn:
        return conn.execute(
            "SELECT coalesce(max(xid::text::bigint) < pg_snapshot_xmin(pg_current_snapshot())::text::bigint, true)"
            " FROM manual_flag"
        ).fetchone()[0]


def test_all_that_happened_to_a_value_is_said(store, monkeypatch, capsys):
    put(store, [*samples(range(0, 600, 20)), *samples(range(600, 3600, 20), pressure=150.0)], seq=1)
    qc.run_once(store, series())

    def explained(*arguments, code=None):
        monkeypatch.setattr(sys, "argv", ["skyledger", "qc", "explain", *arguments, "--dsn", store])
        if code:
            assert main() == code
            return capsys.readouterr().err.strip()
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code
        return capsys.readouterr().out

    good = explained(STATION, "2025-07-01T00:05", "--gas", "co2")
    assert "50m, " in good
    assert "    hour 2025-07-01T00:00: 420.000" in good
    assert "    minute 2025-07-01T00:05: 420.000" in good
    assert "    3 rows of its own in the minute" in good
    assert "port 10: 420.000 as measured, 420.000 dry, good" in good
    assert "  message 1: spool s number 1, came " in good
    bad = explained(STATION, "2025-07-01T00:30:10", "--gas", "co2")
    assert "420.000 dry, bad (state); rule cavity_pressure from 186.1" in bad
    assert "minute 2025-07-01T00:30: no value, bad (state), 0 values, 3 left out" in bad
    assert "ch4" not in bad
    assert "not evaluated yet" in explained(STATION, "2025-07-02T00:05")
    assert explained("nowhere", "2025-07-02T00:05", code=1) == "skyledger: station 'nowhere' is not in the catalogue"
    wrong = explained(STATION, "2025-07-02T00:05", "--inlet", "7m", code=1)
    assert wrong.startswith(f"skyledger: no instrument of '{STATION}' draws from inlet '7m'")
