"""Generic tests, each against itself written out plainly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qc import generic
from qc.errors import QcError
from qc.flags import Flag
from qc.generic import Season

NS = 10**9
MINUTE = 60 * NS
START = 1_767_225_600 * NS
GOOD, NOT, SUSPECT, BAD, MISSING = (np.int8(flag) for flag in Flag)


def minutes(n):
    return START + np.arange(n) * MINUTE


def test_order_blames_only_what_is_out_of_order():
    time = START + np.array([0, 1, 1, 2, 5, 3, 4, 6]) * MINUTE
    assert generic.order(time).tolist() == [GOOD, GOOD, BAD, GOOD, GOOD, BAD, BAD, GOOD]
    assert generic.order(time[:0]).size == 0


def test_gaps_stand_before_the_value_that_comes_late():
    time = START + np.array([0, 1, 2, 5, 6]) * MINUTE
    assert generic.gaps(time, expected_seconds=60).tolist() == [False, False, False, True, False]
    assert generic.gaps(time[:0], expected_seconds=60).size == 0


def test_rates_and_what_cannot_be_said_of_them():
    time = START + np.array([0, 1, 2, 2, 3, 200, 201]) * MINUTE
    value = np.array([400.0, 401.0, 406.0, 400.0, np.nan, 500.0, 480.0])
    found = generic.rate(time, value, suspect=4.0, bad=10.0)
    # The value with a doubled time is not judged, and does not make its neighbour bad.
    assert found.tolist() == [NOT, GOOD, SUSPECT, NOT, MISSING, NOT, BAD]


def plain_flat(time, value, tolerance, length, gap):
    """Whether each value belongs to a stretch within the tolerance that lasts as long."""
    lies = np.zeros(value.size, bool)
    there = [i for i in range(value.size) if np.isfinite(value[i])]
    for a in range(len(there)):
        low = high = value[there[a]]
        for b in range(a, len(there)):
            if b > a and time[there[b]] - time[there[b - 1]] > gap * NS:
                break
            low, high = min(low, value[there[b]]), max(high, value[there[b]])
            if high - low > tolerance:
                break
            if time[there[b]] - time[there[a]] >= length * NS:
                lies[[there[k] for k in range(a, b + 1)]] = True
                break
    return lies


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(0, 150), length=st.sampled_from([60, 300, 1200]))
def test_flat_lines_are_those_that_stay_within_the_tolerance(seed, n, length):
    rng = np.random.default_rng(seed)
    time = START + np.cumsum(rng.choice([1, 1, 1, 2, 120], n)) * MINUTE if n else minutes(0)
    value = np.round(400 + np.cumsum(rng.choice([0, 0, 0, 0.05, 1.0], n)), 2)
    value[rng.random(n) < 0.1] = np.nan
    found = generic.flat_line(time, value, tolerance=0.1, suspect_seconds=length)
    np.testing.assert_array_equal(found == SUSPECT, plain_flat(time, value, 0.1, length, 3600))
    assert ((found == MISSING) == np.isnan(value)).all()


def test_a_long_flat_line_is_bad_from_its_first_value_on():
    value = 400 + np.random.default_rng(1).normal(0, 0.1, 500)
    value[100:160] = 401.0
    value[300:390] = 402.0
    found = generic.flat_line(minutes(500), value, tolerance=0.0, suspect_seconds=1800, bad_seconds=3600)
    assert (found[100:160] == SUSPECT).all()
    assert (found[300:390] == BAD).all()
    assert (np.r_[found[:100], found[160:300], found[390:]] == GOOD).all()
    assert (generic.flat_line(minutes(10), value[:10], tolerance=0.0, suspect_seconds=1800) == NOT).all()


def test_a_signal_that_moves_less_than_it_should():
    rng = np.random.default_rng(2)
    n = 4 * 360
    value = 400 + rng.normal(0, 1.0, n)
    value[360:720] = 400 + rng.normal(0, 0.05, 360)
    value[720:1080] = 400 + rng.normal(0, 0.3, 360)
    value[1080:1300] = np.nan
    found = generic.attenuation(minutes(n), value, window_seconds=6 * 3600, suspect=0.5, bad=0.1)
    assert (found[:360] == GOOD).all()
    assert (found[360:720] == BAD).all()
    assert (found[720:1080] == SUSPECT).all()
    assert (found[1080:1300] == MISSING).all()
    assert (found[1300:] == NOT).all()


def test_a_value_that_is_unusual_for_its_season():
    time = np.array(["2026-01-10T03", "2026-01-10T15", "2026-07-10T03", "2026-07-10T15", "2026-04-01T00"], "M8[ns]")
    seasons = [Season(410, 430, months=(12, 1, 2)), Season(390, 420, months=(6, 7, 8), hours=tuple(range(12, 18)))]
    value = np.array([420.0, 440.0, 400.0, 430.0, np.nan])
    found = generic.climatology(time.astype(np.int64), value, seasons)
    assert found.tolist() == [GOOD, SUSPECT, NOT, SUSPECT, MISSING]


def test_the_worst_of_several():
    a = np.array([GOOD, NOT, NOT, SUSPECT, BAD, MISSING], np.int8)
    b = np.array([NOT, NOT, GOOD, GOOD, SUSPECT, GOOD], np.int8)
    assert generic.worst(a, b).tolist() == [GOOD, NOT, GOOD, SUSPECT, BAD, MISSING]


def test_what_cannot_be_is_said():
    with pytest.raises(QcError, match=r"time has shape \(2,\), value \(3,\)"):
        generic.rate(minutes(2), np.zeros(3), suspect=1.0)
    with pytest.raises(QcError, match="suspect is 0, expected more than 0"):
        generic.rate(minutes(2), np.zeros(2), suspect=0)
    with pytest.raises(QcError, match="suspect_seconds is -1"):
        generic.flat_line(minutes(2), np.zeros(2), tolerance=0.0, suspect_seconds=-1)
    for empty in (generic.rate(minutes(0), np.empty(0), suspect=1.0), generic.climatology(minutes(0), np.empty(0), [])):
        assert empty.size == 0
