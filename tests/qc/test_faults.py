"""Labelled faults through the chain, scored by event; what a fault does not touch stays as it is."""

import numpy as np
import pytest

from ingest import files
from qc import generic
from qc.flags import Flag
from tests.qc import faults


@pytest.fixture(scope="module")
def scored():
    one = faults.stream(20, seed=5)
    ds, bad = faults.as_readings(one)
    minutes = faults.minutes_of(ds, faults.configuration())
    return one, minutes, faults.score(minutes, one.faults, bad, one)


def test_faults_above_three_times_the_noise_are_noticed_and_little_else_is(scored):
    _, _, score = scored
    assert {fault.kind for fault, _, _ in score.noticed} >= {
        "spike",
        "flat",
        "double",
        "reorder",
        "wet",
        "flush",
        "outage",
    }
    assert score.precision >= 0.95
    assert score.recall(least=3.01) >= 0.99
    # Below that fewer are, the smaller the fewer.
    small, middle = score.recall(least=0.1, most=1.0, kind="spike"), score.recall(least=2.0, most=3.0, kind="spike")
    assert small < 0.2 < middle
    assert score.delay("spike") <= 120
    assert score.delay("flat") <= 180


def test_without_faults_hardly_anything_is_flagged():
    one = faults.stream(5, seed=6, faults=[faults.Fault("flush", 5400 + 1200, 5400 + 1260, 0.0)])
    ds, bad = faults.as_readings(one)
    assert not bad.any()
    flags = faults.minutes_of(ds, faults.configuration())["co2_flag"].values
    assert (flags != Flag.GOOD).mean() < 0.003


def test_rows_that_come_twice_or_late_change_nothing_about_their_neighbours():
    double, reorder = faults.Fault("double", 9000, 9900, 0.0), faults.Fault("reorder", 30000, 30600, 0.0)
    clean, disturbed = (faults.stream(1, seed=9, faults=found) for found in ([], [double, reorder]))
    assert disturbed.time.size > clean.time.size
    kept, bad = faults.as_readings(disturbed)
    assert bad.sum() >= 300
    minutes = [faults.minutes_of(ds, faults.configuration()) for ds in (faults.as_readings(clean)[0], kept)]
    for name in minutes[0].data_vars:
        np.testing.assert_array_equal(minutes[0][name].values, minutes[1][name].values, err_msg=str(name))
    # ... nor does a test look across equal times: it says that it could not.
    time = np.array([0, 60, 60, 120]) * 10**9
    flags = generic.rate(time, np.array([400.0, 400.1, 900.0, 400.2]), suspect=1e6)
    assert flags.tolist() == [Flag.NOT_EVALUATED, Flag.GOOD, Flag.NOT_EVALUATED, Flag.GOOD]


def test_what_goes_wrong_inside_a_test_is_not_swallowed(monkeypatch):
    one = faults.stream(1, seed=9, faults=[])
    ds, _ = faults.as_readings(one)

    def broken(*_, **__):
        msg = "out of cheese"
        raise FloatingPointError(msg)

    monkeypatch.setattr(generic, "rate", broken)
    with pytest.raises(FloatingPointError, match="out of cheese"):
        faults.minutes_of(ds, faults.configuration())


PLACE = {"station": "tac", "inlet": "100m", "inlet_height": 100.0, "latitude": 52.5, "longitude": 1.1, "altitude": 56.0}


def test_in_the_real_record_of_tacolneston(shared):
    """Eighteen minutes an hour on a switched inlet: a fault as long as a stay has no edge, and nights move by much."""
    path = shared / "data" / "records" / "gcwerks_tac_100m_201407.dat"
    ds = files.read(path, scale="WMO CO2 X2019", **PLACE)
    time = ds["time"].values.astype("datetime64[ms]").astype(np.int64)
    there = ds["co2_flag"].values == Flag.GOOD
    co2 = np.where(there, ds["co2"].values, np.nan)
    noise = faults.noise_of(co2)
    assert 0.1 < noise < 0.3
    one, config = faults.in_record(time, co2, seed=3, noise=noise)
    empty = np.zeros(there.sum()), np.full(there.sum(), 140.0), np.full(there.sum(), "10", dtype=object)
    plain = faults.Stream(time[there], co2[there], *empty, [], one.start)
    known = faults.minutes_of(faults.as_readings(plain)[0], config)
    readings, bad = faults.as_readings(one)
    score = faults.score(faults.minutes_of(readings, config), one.faults, bad, one, known=known)
    assert len(score.noticed) > 150
    assert score.precision >= 0.95
    for kind in ("flat", "outage", "double", "reorder"):
        assert score.recall(kind=kind) == 1.0, kind
    assert score.recall(kind="spike", least=8.0) > 0.7
    assert score.recall(kind="spike", most=1.0) < 0.1


@pytest.mark.soak
def test_a_year():
    score = faults.quarters()
    assert score.precision >= 0.95
    assert score.recall(least=3.01) >= 0.99
