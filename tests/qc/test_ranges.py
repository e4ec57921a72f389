import numpy as np

from qc.ranges import Range, flags

VALUES = np.array([299.9, 300.0, 350.0, 400.0, 600.1, 900.0, 900.1, np.nan])


def test_outside_bad_is_bad_outside_suspect_is_suspect_limits_included():
    outcome = flags(VALUES, Range(bad=(300, 900), suspect=(350, 600)))
    assert outcome.tolist() == [4, 3, 1, 1, 3, 3, 4, 2]


def test_without_limits_nothing_is_evaluated():
    assert flags(VALUES, Range()).tolist() == [2] * 8
    assert not Range()


def test_one_span_alone():
    assert flags(VALUES, Range(suspect=(350, 600))).tolist() == [3, 3, 1, 1, 3, 3, 3, 2]
    assert flags(np.empty(0), Range(bad=(0, 1))).tolist() == []
