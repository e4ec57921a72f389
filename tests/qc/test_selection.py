"""Background by rules that are configuration."""

from dataclasses import replace

import numpy as np
import pytest

from qc import selection
from qc.document import Table
from qc.errors import QcError
from qc.selection import HOUR_NS, MAUNA_LOA, Rules, select

START = 1_767_225_600 * 10**9  # 2026-01-01T00:00Z


def hours(n, first=0):
    return START + (first + np.arange(n)) * HOUR_NS


def letters(value, rules, *, stdev=None, time=None, **wind):
    value = np.asarray(value, dtype=float)
    stdev = np.full(value.size, 0.05) if stdev is None else np.asarray(stdev, dtype=float)
    return "".join(select(hours(value.size) if time is None else time, value, stdev, rules, **wind))


def test_without_rules_all_that_is_there_is_background():
    assert letters([400, np.nan, 400], Rules()) == ". ."
    assert letters([], Rules()) == ""


def test_an_hour_that_varies():
    assert letters([400] * 3, Rules(max_stdev=0.3), stdev=[0.29, 0.3, 0.31]) == ".VV"


def test_a_step_puts_both_hours_aside_but_for_the_edge_of_steady_ones():
    rules = Rules(max_difference=0.25, edge_hours=0)
    assert letters([400, 400, 400, 401, 401, 401], rules) == "..DD.."
    # With three steady hours beside it an hour that fits them is taken back.
    assert letters([400] * 4 + [401] * 4, Rules(max_difference=0.25)) == "." * 8
    assert letters([400] * 4 + [401, 402, 403], Rules(max_difference=0.25)) == "....DDD"
    # A gap of one hour allows twice as much, a longer one says nothing.
    assert letters([400, np.nan, 400.4], rules) == ". ."
    assert letters([400, np.nan, 400.6], rules) == "D D"
    assert letters([400, np.nan, np.nan, 410], rules) == ".  ."
    # What is put aside for its variation is no neighbour.
    both = Rules(max_stdev=0.3, max_difference=0.25, edge_hours=0)
    assert letters([400, 405, 400.4], both, stdev=[0.1, 0.9, 0.1]) == ".V."


def test_hours_of_the_day_alone_and_without_neighbours():
    assert letters([400] * 24, Rules(rejected_hours=(21, 22, 23, 0, 1, 2, 3, 4))) == "UUUUU" + "." * 16 + "UUU"
    assert letters([400, np.nan, 400, 400, np.nan, 400], Rules(isolated=True)) == "S .. S"
    value = np.full(40, np.nan)
    value[[0, 8, 30]] = 400.0
    assert letters(value, Rules(neighbourhood_hours=8)).replace(" ", "") == "..N"


def test_the_wind():
    value, direction = [400.0] * 6, np.array([10.0, 150.0, 300.0, 301.0, np.nan, 355.0])
    assert letters(value, Rules(rejected_sectors=((150, 300),)), wind_direction=direction) == ".WW.W."
    assert letters(value, Rules(kept_sectors=((350, 20),)), wind_direction=direction) == ".WWWW."
    speed = np.array([0.5, 1.0, 2.0, np.nan, 3.0, 3.0])
    assert letters(value, Rules(min_wind=1.0), wind_speed=speed) == "W..W.."
    for rules in (Rules(kept_sectors=((20, 110),)), Rules(min_wind=1.0)):
        with pytest.raises(QcError, match="the rules ask"):
            letters(value, rules)


def test_mauna_loas_rules_keep_the_steady_nights():
    rng = np.random.default_rng(1)
    n = 24 * 60
    hour = np.arange(n) % 24
    upslope = np.isin(hour, MAUNA_LOA.rejected_hours)
    value = 420 + np.cumsum(rng.normal(0, 0.01, n)) - 2.0 * upslope * rng.random(n)
    stdev = np.where(upslope, 0.6, 0.1)
    found = np.array(list(letters(value, MAUNA_LOA, stdev=stdev)))
    assert (found[upslope] != ".").all()
    assert (found[~upslope] == ".").mean() > 0.9


def test_what_cannot_be_is_said():
    with pytest.raises(QcError, match="hour of the day is 24"):
        Rules(rejected_hours=(24,))
    with pytest.raises(QcError, match="max_stdev is 0"):
        Rules(max_stdev=0)
    with pytest.raises(QcError, match="not whole hours that increase"):
        letters([400, 400], Rules(), time=hours(2)[::-1])
    with pytest.raises(QcError, match="not whole hours that increase"):
        letters([400], Rules(), time=hours(1) + 1)


def test_the_hourly_wind_is_that_of_the_mean_vector():
    time = START + np.arange(0, 3 * HOUR_NS, HOUR_NS // 4)
    direction = np.array([350, 10, 350, 10, 90, 90, 90, 90, 0, 180, np.nan, np.nan], float)
    speed = np.array([2, 2, 2, 2, 1, 3, 1, 3, 1, 1, 5, 5], float)
    found, strength = selection.wind(time, direction, speed, hours(4))
    assert min(found[0], 360 - found[0]) < 1e-9
    assert strength[0] == pytest.approx(2 * np.cos(np.radians(10)))
    assert (found[1], strength[1]) == (pytest.approx(90), pytest.approx(2))
    assert strength[2] == pytest.approx(0, abs=1e-12)
    assert np.isnan([found[3], strength[3]]).all()


def test_rules_as_configuration():
    def read(**document):
        faults = []
        found = selection.from_table(Table(document, "selection", faults))
        return found, faults

    assert read(like="mauna loa") == (MAUNA_LOA, [])
    assert read(like="mauna loa", max_stdev=0.5)[0] == replace(MAUNA_LOA, max_stdev=0.5)
    assert read(rejected_sectors=[[150, 300]])[0] == Rules(rejected_sectors=((150.0, 300.0),))
    assert read(kept_sectors=[[20]])[1] == ["selection.kept_sectors: is [[20]], expected a list of [first, last]"]
    assert "did you mean 'max_stdev'" in read(max_stddev=1)[1][0]
    assert "expected one of mauna loa" in read(like="mlo")[1][0]
