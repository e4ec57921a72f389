"""Quality control as the readings come, and all at once: the same; and what a change touches, and nothing else."""

import sys
import time
from datetime import UTC, datetime

import numpy as np
import pytest

from deploy.__main__ import main
from deploy.errors import DeployError
from deploy.jobs import network, qc
from ingest import catalogue, decode, ledger, read, standards
from ingest.database import connect
from ingest.migrate import migrate
from ingest.store import Writer
from qc.flags import Cause, Outcome, outcome
from qc.pipeline import Config
from station_agent.sample import Sample
from station_agent.wire import encode_event, instrument_topic, parse_topic
from tests.deploy.processes import eventually
from tests.deploy.test_qc_job import START, put
from tests.path.network import STATION, document

HOUR, DAY = 3600, 86_400
STEP = 60
HELD = {"2": 380.0, "3": 410.0, "4": 450.0}
"""Port -> what its cylinder holds."""


def network_document(**held):
    """The catalogue: a station whose instrument has three cylinders."""
    values = {f"tank{port}": value for port, value in HELD.items()} | held
    cylinders = [
        {"name": name, "species": "co2", "value": value, "uncertainty": 0.01, "scale": "WMO CO2 X2019"}
        for name, value in values.items()
    ]
    return {**document(), "cylinder": cylinders}


def series(**more):
    gas = {
        "scale": "WMO CO2 X2019",
        "water": {"method": "none"},
        "u_cmr": 0.02,
        "u_shared": {"scale": 0.02},
        "tests": {"sd": {}, "rebs": {}, "reject": "rebs", "flat_line": {"tolerance": 0.0, "suspect_seconds": 1800}},
        "calibration": {"repeatability": 0.02, "drift": 0.02},
        "selection": {"max_stdev": 0.25, "rejected_hours": [21, 22, 23], "isolated": True, "neighbourhood_hours": 8},
    }
    hung = [{"port": port, "cylinder": f"tank{port}"} for port in HELD]
    calibration = {"flush_seconds": 120, "episode_hours": 6, "history_days": 30, "standard": hung}
    return [{"flush_seconds": 60, "species": {"co2": gas | more}, "calibration": calibration}]


def samples(first, last, *, spike_at=None):
    """Rows of one instrument in [first, last) seconds: drifting, standards every second day, sometimes a spike."""
    for second in range(first, last, STEP):
        rng = np.random.default_rng(second)
        within = second % (2 * DAY) - HOUR
        stay = within // 600 if 0 <= within < 3600 else -1
        port = "234234"[stay] if stay >= 0 else "10"
        true = HELD[port] if stay >= 0 else 420 + 4 * np.sin(second / DAY * 2 * np.pi)
        if port == "10" and spike_at is not None and spike_at <= second < spike_at + 600:
            true += 9.0
        reads = true + 0.3 + 0.02 * second / DAY + rng.normal(0, 0.03)
        yield Sample((START + second) * 10**9, {"co2": round(reads, 4)}, port=port)


@pytest.fixture
def store(dsn):
    migrate(dsn)
    catalogue.apply(dsn, network_document())
    return dsn


def fill(dsn, days, *, every=6 * HOUR, on_part=lambda: None, spike_at=3 * DAY + 5 * HOUR):
    for seq, first in enumerate(range(0, days * DAY, every), start=1):
        put(dsn, samples(first, first + every, spike_at=spike_at), seq=seq)
        on_part()


def minutes(dsn):
    return read.minutes(dsn, station=STATION, inlet="50m")


def at(second):
    return np.datetime64(START + int(second), "s").astype("datetime64[ns]")


def moment(second):
    return datetime.fromtimestamp(START + second, UTC)


SPAN = {"start": np.datetime64("2025-01-01"), "end": np.datetime64("2026-01-01")}


def outside(before, after, first, last):
    """Whether two datasets are the same, byte for byte, but for what begins in [first, last)."""
    assert before["time"].values.tolist() == after["time"].values.tolist()
    out = ~((before["time"].values >= at(first)) & (before["time"].values < at(last)))
    return all(before[name].values[out].tobytes() == after[name].values[out].tobytes() for name in before.data_vars)


def heard(dsn):
    """Whether a job would hear of everything by now."""
    with connect(dsn) as conn:
        return conn.execute(
            "SELECT coalesce(greatest((SELECT max(xid::text::bigint) FROM manual_flag),"
            " (SELECT max(xid::text::bigint) FROM cylinder_correction))"
            " < pg_snapshot_xmin(pg_current_snapshot())::text::bigint, true)"
        ).fetchone()[0]


def test_as_it_comes_is_as_all_at_once(store):
    fill(store, 9, on_part=lambda: qc.run_once(store, series()))
    streamed = minutes(store)
    config = Config.from_dict({**series()[0], **_place()})
    settled = 9 * DAY - config.delay_seconds
    hours = read.hourly(store, station=STATION, inlet="50m")
    results = qc.rerun(store, series(), **SPAN)
    assert outside(hours, read.hourly(store, station=STATION, inlet="50m"), min(settled, 8 * DAY + HOUR), 10 * DAY)
    kept = hours["co2_selection"].values == 1
    assert 0.1 < kept.mean() < 0.8
    assert not kept[np.isin(hours["time"].dt.hour.values, [21, 22, 23])].any()
    batch = minutes(store)
    last_episode = 8 * DAY + HOUR
    assert outside(streamed, batch, min(settled, last_episode), 10 * DAY)
    for result in results:  # what was written again had not settled
        assert result.hours["time"].values[0] > at(min(settled, last_episode) - HOUR)
    assert qc.rerun(store, series(), **SPAN) == []  # a third time: not one byte differs
    # What there is to see: calibrated, drift taken out, the spike found and not in the hour.
    values = batch["co2"].values - (
        420 + 4 * np.sin((batch["time"].values - at(0)) / np.timedelta64(DAY, "s") * 2 * np.pi)
    )
    good = batch["co2_flag"].values == 1
    assert abs(values[good & (batch["time"].values > at(2 * DAY))].mean()) < 0.02
    spike = (batch["time"].values >= at(3 * DAY + 5 * HOUR)) & (batch["time"].values < at(3 * DAY + 5 * HOUR + 600))
    assert (batch["co2_cause"].values[spike] & Cause.SPIKE_REBS).all()
    assert batch["co2_provisional"].values[-1] == 1
    assert (
        not batch["co2_provisional"]
        .values[(batch["time"].values > at(DAY)) & (batch["time"].values < at(8 * DAY))]
        .any()
    )


def _place():
    return {
        "station": STATION,
        "inlet": "50m",
        "inlet_height": 50.0,
        "latitude": 30.3,
        "longitude": 119.7,
        "altitude": 139.0,
        "instrument": "g2301",
        "ports": ["10"],
        "calibration": series()[0]["calibration"]
        | {
            "cylinder": [
                {"name": f"tank{port}", "species": "co2", "value": value, "uncertainty": 0.01}
                for port, value in HELD.items()
            ]
        },
    }


def test_a_late_day_a_flag_a_rejected_calibration_and_an_exchanged_cylinder_each_touch_their_own(store):
    fill(store, 7, spike_at=None)
    qc.run_once(store, series())
    before = minutes(store)
    # A flag by hand: its window, and not what the tests say of its neighbours.
    number = ledger.add(
        store,
        ledger.Decision(
            station=STATION, start=moment(3 * DAY + 4 * HOUR), end=moment(3 * DAY + 6 * HOUR), flag="bad",
            author="Li Hua", reason="visitors", inlet="50m",
        ),
    )  # fmt: skip
    assert eventually(lambda: heard(store))
    (result,) = qc.run_once(store, series())
    flagged = minutes(store)
    assert outside(before, flagged, 3 * DAY + 4 * HOUR, 3 * DAY + 6 * HOUR)
    assert result.hours.sizes["time"] == 2
    ledger.withdraw(store, number, author="Li Hua", reason="the next street")
    assert eventually(lambda: heard(store))
    qc.run_once(store, series())
    assert outside(before, minutes(store), 0, 0)
    # A calibration rejected by hand: what lies between the one before and the one after it.
    ledger.add(
        store,
        ledger.Decision(
            station=STATION, start=moment(4 * DAY + HOUR), end=moment(4 * DAY + 2 * HOUR), flag="bad",
            author="Li Hua", reason="regulator frozen", port="3",
        ),
    )  # fmt: skip
    assert eventually(lambda: heard(store))
    qc.run_once(store, series())
    rejected = minutes(store)
    assert outside(before, rejected, 2 * DAY + HOUR, 6 * DAY + 2 * HOUR)
    between = (before["time"].values > at(4 * DAY - HOUR)) & (before["time"].values < at(4 * DAY))
    assert (before["co2"].values[between] != rejected["co2"].values[between]).all()
    # Another cylinder hung at a port for the last episode than was said.
    catalogue.apply(store, network_document(spare=410.8))
    standards.correct(
        store,
        STATION,
        start=moment(5 * DAY),
        end=moment(7 * DAY),
        said="3",
        was="spare",
        author="Li Hua",
        reason="label",
    )
    assert eventually(lambda: heard(store))
    qc.run_once(store, series())
    corrected = minutes(store)
    assert outside(rejected, corrected, 4 * DAY + HOUR, 7 * DAY)
    assert not outside(rejected, corrected, 0, 0)
    # All of it again gives the same bytes.
    assert qc.rerun(store, series(), **SPAN) == []


def test_a_reassigned_cylinder_rewrites_what_it_touched(store):
    fill(store, 5, spike_at=None)
    qc.run_once(store, series())
    before = minutes(store)
    assert qc.run_once(store, series()) == []
    catalogue.apply(store, network_document(tank2=380.05))
    assert qc.run_once(store, series())
    after = minutes(store)
    calibrated = outcome(before["co2_tests"].values, Cause.CALIBRATION) == Outcome.GOOD
    assert calibrated.any()
    assert (before["co2"].values != after["co2"].values)[np.isfinite(before["co2"].values)].all()
    assert qc.run_once(store, series()) == []
    assert qc.rerun(store, series(), **SPAN) == []


def test_another_configuration_evaluates_again(store):
    fill(store, 2, spike_at=None)
    qc.run_once(store, series())
    before = minutes(store)
    results = qc.run_once(store, series(range={"bad": [300, 421]}))
    assert sum(result.minutes for result in results) == before.sizes["time"]
    assert (minutes(store)["co2_cause"].values & Cause.RANGE).any()
    assert qc.run_once(store, series(range={"bad": [300, 421]})) == []


@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_instruments_side_by_side_give_the_same(plain_dsn, scheduler):
    migrate(plain_dsn)
    catalogue.apply(plain_dsn, network_document())
    other = document(station="wuxi")
    catalogue.apply(plain_dsn, other)
    fill(plain_dsn, 2)
    with connect(plain_dsn) as conn:
        numbers = dict(
            conn.execute("SELECT s.name, i.id FROM instrument i JOIN station s ON s.id = i.station_id").fetchall()
        )
        conn.execute(
            "INSERT INTO channel (instrument_id, quantity, unit) SELECT %s, quantity, unit FROM channel"
            " WHERE instrument_id = %s", [numbers["wuxi"], numbers[STATION]],
        )  # fmt: skip
        conn.execute(
            "INSERT INTO reading (time, channel_id, value, state_id)"
            " SELECT r.time, n.id, r.value, r.state_id FROM reading r JOIN channel c ON c.id ="
            " r.channel_id JOIN channel n ON n.quantity = c.quantity AND n.instrument_id = %s"
            " WHERE c.instrument_id = %s",
            [numbers["wuxi"], numbers[STATION]],
        )
    results = qc.rerun(plain_dsn, series(), **SPAN, scheduler=scheduler)
    assert {result.station for result in results} == {STATION, "wuxi"}
    ours, theirs = (read.minutes(plain_dsn, station=name, inlet="50m") for name in (STATION, "wuxi"))
    for name in ours.data_vars:
        assert ours[name].values.tobytes() == theirs[name].values.tobytes()
    with pytest.raises(DeployError, match=r"scheduler 'nowhere': .* or the address of a Dask scheduler"):
        qc.rerun(plain_dsn, series(range={"bad": [1, 2]}), **SPAN, scheduler="nowhere")


def test_a_cylinder_nobody_knows_or_on_another_scale_is_said(store):
    (station,) = read.stations(store)
    (instrument,), (inlet,) = station.instruments, station.inlets
    where = {"span": qc.ALL, "series": series()}
    with pytest.raises(
        DeployError, match=r"series 1.calibration.standard: cylinder 'tank2' is not in the catalogue; `sky"
    ):
        network.configuration_for(station, instrument, inlet, **where)
    with connect(store) as conn:
        known = standards.cylinders(conn)
    wrong = [standards.Cylinder(c.name, c.species, c.value, c.uncertainty, "WMO CO2 X2007", None, None) for c in known]
    with pytest.raises(DeployError, match="cylinder 'tank2' is on WMO CO2 X2007, the series' co2 on WMO CO2 X2019"):
        network.configuration_for(station, instrument, inlet, cylinders=wrong, **where)
    unsure = [standards.Cylinder(c.name, c.species, c.value, None, c.scale, None, None) for c in known]
    with pytest.raises(DeployError, match="cylinder 'tank2' has no uncertainty of co2 in the catalogue"):
        network.configuration_for(station, instrument, inlet, cylinders=unsure, **where)


def test_explained_with_its_calibration_and_every_test(store, monkeypatch, capsys):
    fill(store, 3, spike_at=None)
    qc.run_once(store, series())
    monkeypatch.setattr(network, "network_configuration", lambda _=None: series())
    monkeypatch.setattr(qc, "network_configuration", lambda _=None: series())
    monkeypatch.setattr(sys, "argv", ["skyledger", "qc", "explain", STATION, "2025-07-02T12:00", "--dsn", store])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    said = capsys.readouterr().out
    assert "calibration: by the episodes of 2025-07-01T01:45 and 2025-07-03T01:45" in said
    assert "dry and on the scale, good" in said
    assert "not evaluated: state, range, water, " in said
    assert "calibration good" in said
    assert "spike rebs good" in said


def command(monkeypatch, capsys, dsn, *arguments, code=0):
    monkeypatch.setattr(sys, "argv", ["skyledger", "qc", *arguments, "--dsn", dsn])
    try:
        code_ = main()
    except SystemExit as end:
        code_ = end.code
    assert (code_ or 0) == code
    said = capsys.readouterr()
    return (said.err if code else said.out).strip()


def test_a_stretch_again_and_a_cylinder_that_was_another(store, monkeypatch, capsys):
    fill(store, 2, spike_at=None)
    monkeypatch.setattr(qc, "network_configuration", lambda _=None: series())
    assert command(monkeypatch, capsys, store, "run").startswith(f"{STATION}/50m: ")
    assert command(monkeypatch, capsys, store, "run") == "Nothing new since the last run."
    again = ("run", "--from", "2025-07-01", "--to", "2025-07-03", "--scheduler", "threads")
    assert command(monkeypatch, capsys, store, *again) == "Evaluated again: not one value differs."
    wrong = command(monkeypatch, capsys, store, "run", "--from", "2025-07-01", code=1)
    assert wrong == "skyledger: --from goes with --to: give both, or neither for what is new"
    wrong = command(monkeypatch, capsys, store, *again[:5], "--station", "nowhere", code=1)
    assert wrong == "skyledger: station 'nowhere' is not in the catalogue"
    assert "expected ISO 8601" in command(monkeypatch, capsys, store, "run", "--from", "x", "--to", "y", code=1)
    catalogue.apply(store, network_document(spare=411.0))
    put_right = ("reassign", STATION, "--from", "2025-07-01", "--to", "2025-07-02", "--said", "tank3", "--was", "spare")
    said = command(monkeypatch, capsys, store, *put_right, "--why", "label", "--who", "Li Hua")
    assert said == "correction 1: tank3 was spare from 2025-07-01 to 2025-07-02; `skyledger qc run` evaluates it again"
    assert eventually(lambda: heard(store))
    assert command(monkeypatch, capsys, store, "run").startswith(f"{STATION}/50m: ")
    assert "spare" in {row for shown in _shown(store).values() for row in shown.cylinder}
    assert "correction 1: tank3 was spare, 2025-07-01 00:00 to 2025-07-02 00:00: label (Li Hua)" in command(
        monkeypatch, capsys, store, "ledger", STATION
    )


def _shown(dsn):
    with connect(dsn) as conn:
        return standards.injections(conn, STATION, "g2301")


def test_a_series_whose_configuration_is_wrong_stops_no_other_and_loses_nothing(store):
    catalogue.apply(store, document(station="wuxi"))
    fill(store, 1, spike_at=None)
    wrong = [{**series()[0], "station": "wuxi", "flush_second": 3}, *series()]
    results = qc.run_once(store, wrong)
    assert {result.station: result.hours is None for result in results} == {"wuxi": True, STATION: False}
    assert "flush_second: is not known, did you mean 'flush_seconds'?" in str(
        next(r for r in results if r.hours is None)
    )
    assert qc.run_once(store, wrong) == []  # said once
    # Lin'an itself goes wrong while readings come, and right again: what came meanwhile is evaluated.
    broken = series(range={"bad": [3]})
    put(store, samples(DAY, DAY + 6 * HOUR), seq=5)
    assert all(result.hours is None for result in qc.run_once(store, broken))
    assert qc.run_once(store, broken) == []
    assert sum(result.minutes for result in qc.run_once(store, series())) >= 360
    assert qc.rerun(store, series(), **SPAN) == []
    # The same where the readings do not fit the configuration: a port the catalogue does not know.
    with connect(store) as conn:
        conn.execute("UPDATE instrument_port SET port = NULL")
    put(store, samples(DAY + 6 * HOUR, DAY + 8 * HOUR), seq=6)
    (result,) = [result for result in qc.run_once(store, series()) if result.station == STATION]
    assert "come from ports '10', '2', '3', '4' and the configuration names none" in str(result)
    with connect(store) as conn:
        conn.execute("UPDATE instrument_port SET port = '10'")
    assert sum(result.minutes for result in qc.run_once(store, series())) >= 120
    assert qc.rerun(store, series(), **SPAN) == []


def move(dsn, second, port, *, seq):
    """An event of a valve, as an agent sends it."""
    when = (START + second) * 10**9
    payload = encode_event("valve_moved", time_ns=when, detail={"port": port}, spool="valve", seq=seq)
    topic = parse_topic(instrument_topic(STATION, "g2301", "event"))
    said = decode.contents(decode.Message.received(topic, payload), now_ms=int(time.time() * 1000))
    with connect(dsn) as conn:
        assert Writer(conn).write([said]).results[0].outcome == "stored"


def test_a_valve_that_speaks_by_events(store):
    """Rows without a port: standards are found by what the valve says, also when it says so late."""
    rows = list(samples(0, 3 * DAY))
    silent = [Sample(row.time_ns, row.values) for row in rows]
    put(store, silent, seq=1)
    qc.run_once(store, series())
    ports = [row.port for row in rows]
    changes = [(k * STEP, port) for k, port in enumerate(ports) if k == 0 or port != ports[k - 1]]
    for k, (second, port) in enumerate(changes):
        move(store, second, port, seq=k + 1)
    assert eventually(lambda: moves_heard(store))
    qc.run_once(store, series())
    spoken = minutes(store)
    assert (outcome(spoken["co2_tests"].values, Cause.CALIBRATION) == Outcome.GOOD).mean() > 0.95
    assert len(_shown(store)["co2"].start) == 12
    second_day = (spoken["time"].values > at(DAY)) & (spoken["time"].values < at(2 * DAY))
    assert second_day.sum() > 1400
    assert not spoken["co2_provisional"].values[second_day].any()


def moves_heard(dsn):
    with connect(dsn) as conn:
        return conn.execute(
            "SELECT max(xid::text::bigint) < pg_snapshot_xmin(pg_current_snapshot())::text::bigint FROM message"
        ).fetchone()[0]
