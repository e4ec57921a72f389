"""Flags by hand on top of what the tests said."""

import numpy as np
from hypothesis import given

from qc import manual
from qc.flags import Cause, Flag
from qc.manual import Entry
from qc.pipeline import Config, rows, run
from tests import strategies
from tests.qc.test_pipeline import CHAIN

GOOD, NOT, SUSPECT, BAD, MISSING = (np.int8(flag) for flag in Flag)
NS = 10**9


def entry(number, first, until, flag, **only):
    return Entry(number, np.datetime64(first, "s"), np.datetime64(until, "s"), flag, "me", "because", **only)


def test_what_is_decided_stands_and_nothing_else_changes():
    time = np.arange(6) * NS
    port = np.array(["1", "1", "1", "2", "2", "2"], dtype=object)
    value = np.array([400.0, 401.0, np.nan, 402.0, 403.0, 404.0])
    flag = np.array([GOOD, BAD, MISSING, SUSPECT, NOT, GOOD])
    cause = np.array([0, Cause.RANGE, 0, Cause.STATE, Cause.WATER, 0], np.int32)
    tests = np.ones(6, np.int64)
    given_ = {"gas": "co2"}
    kept = (flag.copy(), cause.copy())

    def judged(*entries):
        found = manual.apply(time, port, value, flag, cause, tests, entries=entries, **given_)
        return found[0].tolist(), (found[1] & int(Cause.MANUAL) > 0).tolist()

    assert judged() == (flag.tolist(), [False] * 6)
    assert judged(entry(1, 0, 6, Flag.BAD)) == (
        [BAD, BAD, MISSING, BAD, BAD, BAD],
        [True, True, False, True, True, True],
    )
    assert judged(entry(1, 1, 2, Flag.SUSPECT))[0] == flag.tolist()  # the tests said worse
    assert judged(entry(1, 1, 5, Flag.GOOD))[0] == [GOOD, GOOD, MISSING, GOOD, GOOD, GOOD]
    assert judged(entry(1, 0, 6, Flag.BAD, port="2"))[0] == [GOOD, BAD, MISSING, BAD, BAD, BAD]
    assert judged(entry(1, 0, 6, Flag.BAD, gas="ch4"))[0] == flag.tolist()
    # The later row counts, in whatever order they are given; one that withdraws says nothing.
    first, second = entry(1, 0, 6, Flag.BAD), entry(2, 3, 6, Flag.GOOD)
    assert judged(second, first) == judged(first, second)
    assert judged(first, second)[0] == [BAD, BAD, MISSING, GOOD, GOOD, GOOD]
    assert judged(first, entry(2, 0, 6, Flag.NOT_EVALUATED))[0] == flag.tolist()
    np.testing.assert_array_equal(kept[0], flag)
    np.testing.assert_array_equal(kept[1], cause)


@given(strategies.readings())
def test_in_the_chain_only_the_window_changes(ds):
    config = Config.from_dict({**CHAIN, "ports": ["1", "2"]})
    time = ds["time"].values
    if time.size < 4:
        return
    first, until = time[time.size // 4], time[3 * time.size // 4]
    hand = [Entry(7, first, until, Flag.BAD, "me", "leak")]
    before, after = rows(ds, config), rows(ds, config, by_hand=hand)
    inside = (before["time"].values >= first) & (before["time"].values < until)
    np.testing.assert_array_equal(before["co2_flag"].values[~inside], after["co2_flag"].values[~inside])
    assert set(after["co2_flag"].values[inside].tolist()) <= {BAD, MISSING}
    assert after.attrs["manual_flags"] == "7"
    assert run(ds, config, by_hand=hand).attrs["manual_flags"] == "7"
