"""Tests of minutes: what each finds, in blocks of a day; late is as early, a flag by hand changes its window only."""

import numpy as np
import pytest

from qc import screening
from qc.errors import ConfigError
from qc.flags import Cause, Flag, Outcome, outcome, outcomes, without
from qc.generic import Season
from qc.manual import Entry
from qc.pipeline import Config, run
from qc.schema import OBS, require
from qc.screening import Screening, screen
from tests.qc.conftest import DOCUMENT
from tests.strategies import dataset

NS = 10**9
MINUTE, HOUR, DAY = 60 * NS, 3600 * NS, 86_400 * NS
START = 1_767_225_600 * NS  # a midnight

ASKED = Screening(
    sd=screening.Sd(),
    rebs=screening.Rebs(),
    rate=screening.Rate(suspect=5.0, bad=50.0),
    flat_line=screening.FlatLine(tolerance=1e-6, suspect_seconds=1800, bad_seconds=7200),
    attenuation=screening.Attenuation(window_seconds=21_600, suspect=1e-3),
    gap=screening.Gap(),
    climatology=(Season(400.0, 460.0),),
)


def air(days, *, seed=1, noise=0.05):
    rng = np.random.default_rng(seed)
    minute = np.arange(days * 1440)
    slow = 420 + 4 * np.sin(minute / 1440 * 2 * np.pi) + np.cumsum(rng.normal(0, 0.01, minute.size))
    return START + minute * MINUTE, slow + rng.normal(0, noise, minute.size)


def found(tests, cause):
    return outcome(tests, cause)


def test_outcomes_of_all_tests_fit_one_number_and_or_is_the_worse():
    flags = np.array([Flag.GOOD, Flag.SUSPECT, Flag.BAD, Flag.NOT_EVALUATED, Flag.MISSING])
    every = np.zeros(5, np.int64)
    for cause in Cause:
        every |= outcomes(cause, flags)
    for cause in Cause:
        assert outcome(every, cause).tolist() == [1, 3, 7, 0, 0]
    good, bad = outcomes(Cause.GAP, np.array([Flag.GOOD])), outcomes(Cause.GAP, np.array([Flag.BAD]))
    assert outcome(good | bad, Cause.GAP) == Outcome.BAD
    assert outcome(without(good, Cause.GAP) | outcomes(Cause.RATE, np.array([1])), Cause.GAP) == Outcome.NOT_EVALUATED


def test_each_test_finds_what_it_is_for_and_says_where_it_could_not():
    time, value = air(3)
    value[2000:2010] += 9.0  # a spike of ten minutes
    value[2500:2640] = value[2500]  # a line of 140 minutes
    value[3000] = 380.0  # unusual, and from one minute to the next
    value[3500:3600] = np.nan
    tests = screen(time, value, ASKED)
    assert (found(tests, Cause.SPIKE_REBS)[2000:2010] == Outcome.SUSPECT).all()
    assert (found(tests, Cause.SPIKE_SD)[2000:2010] == Outcome.SUSPECT).all()
    assert (found(tests, Cause.FLAT_LINE)[2500:2640] == Outcome.BAD).all()
    assert found(tests, Cause.FLAT_LINE)[2640] == Outcome.GOOD
    assert found(tests, Cause.CLIMATOLOGY)[3000] == Outcome.SUSPECT
    assert found(tests, Cause.RATE)[[2999, 3000, 3001]].tolist() == [Outcome.GOOD, Outcome.SUSPECT, Outcome.SUSPECT]
    assert found(tests, Cause.GAP)[3600] == Outcome.SUSPECT
    assert (tests[3500:3600] == 0).all()
    assert found(tests, Cause.RATE)[[0, 3600]].tolist() == [Outcome.NOT_EVALUATED] * 2
    assert (found(tests, Cause.MANUAL) == Outcome.NOT_EVALUATED).all()
    assert (found(tests, Cause.SPIKE_REBS) == Outcome.SUSPECT).mean() < 0.05


def test_a_day_gets_the_same_outcomes_with_the_six_before_it_and_three_hours_after():
    time, value = air(12)
    value[np.random.default_rng(3).random(value.size) < 0.05] = np.nan
    value[1440 * 8 - 40 : 1440 * 8 + 90] = 421.0  # a line across midnight
    whole = screen(time, value, ASKED)
    for day in (7, 8, 11):
        first, until = (day - 6) * 1440, (day + 1) * 1440
        part = slice(first, until + 180)
        of_day = slice(6 * 1440, 7 * 1440)
        alone = screen(time[part], value[part], ASKED, since=int(time[day * 1440]))
        np.testing.assert_array_equal(alone[of_day], whole[day * 1440 : until])
        assert (alone[: 6 * 1440] == 0).all()
    # An hour less on either side and something is missed somewhere: the margins are needed.
    short = screen(time[2 * 1440 : 9 * 1440], value[2 * 1440 : 9 * 1440], ASKED)[5 * 1440 : 6 * 1440]
    assert not np.array_equal(short, whole[7 * 1440 : 8 * 1440])


def readings(days, *, step=20, spike=None):
    """READINGS of one gas and its cell pressure, a row every so many seconds."""
    rng = np.random.default_rng(8)
    ms = START // 10**6 + np.arange(0, days * 86_400, step) * 1000
    co2 = 420 + 3 * np.sin(ms / 86_400_000 * 2 * np.pi) + rng.normal(0, 0.1, ms.size)
    if spike:
        co2[spike] += 8.0
    return dataset(ms, {"co2": co2, "h2o_reported": np.zeros(ms.size)}, port=["10"] * ms.size)


def configuration(**tests):
    gas = {**DOCUMENT["species"]["co2"], "tests": tests}
    return Config.from_dict({**DOCUMENT, "species": {"co2": gas}})


def test_spikes_are_noted_and_hours_are_kept_with_and_without_them():
    day = 86_400 // 20
    spiked = slice(day + 900, day + 930)  # ten minutes of the sixth hour of the second day
    ds = readings(2, spike=spiked)
    noted = run(ds, configuration(sd={}, rebs={}))
    require(noted, OBS)
    hour = 24 + 5
    assert noted["co2_flag"].values[hour] == Flag.GOOD
    assert found(noted["co2_tests"].values, Cause.SPIKE_REBS)[hour] == Outcome.SUSPECT
    assert noted["co2"].values[hour] - noted["co2_without_rebs"].values[hour] == pytest.approx(8 * 10 / 60, abs=0.1)
    assert noted["co2"].values[hour] - noted["co2_without_sd"].values[hour] == pytest.approx(8 * 10 / 60, abs=0.1)
    rejected = run(ds, configuration(sd={}, rebs={}, reject="rebs"))
    assert rejected["co2"].values[hour] == pytest.approx(noted["co2_without_rebs"].values[hour], abs=1e-9)
    assert rejected["co2_n_rejected"].values[hour] >= 30
    minutes = run(ds, configuration(sd={}, rebs={}, reject="rebs"), interval="minute")
    assert (minutes["co2_cause"].values[1440 + 300 : 1440 + 310] & Cause.SPIKE_REBS).all()
    assert np.isfinite(minutes["co2"].values[1440 + 300 : 1440 + 310]).all()  # kept, with its flag


def test_a_flag_by_hand_changes_its_window_and_nothing_the_tests_say_elsewhere():
    ds = readings(3)
    config = configuration(sd={}, rebs={}, reject="sd", flat_line={"tolerance": 0.0, "suspect_seconds": 600})
    first, until = (np.datetime64(START + k * HOUR, "ns") for k in (20, 26))
    before, after = (
        run(ds, config, interval="minute", by_hand=hand)
        for hand in ((), [Entry(3, first, until, Flag.BAD, "Li Hua", "visitors")])
    )
    inside = (before["time"].values >= first) & (before["time"].values < until)
    for name in before.data_vars:
        np.testing.assert_array_equal(before[name].values[~inside], after[name].values[~inside], err_msg=str(name))
    assert (after["co2_flag"].values[inside] == Flag.BAD).all()
    assert (found(after["co2_tests"].values, Cause.MANUAL)[inside] == Outcome.BAD).all()


def test_what_somebody_decided_is_good_no_test_makes_suspect():
    day = 86_400 // 20
    ds = readings(2, spike=slice(day + 900, day + 930))
    config = configuration(rebs={}, reject="rebs")
    first, until = (np.datetime64(START + DAY + k * MINUTE, "ns") for k in (300, 310))
    good = run(ds, config, interval="minute", by_hand=[Entry(1, first, until, Flag.GOOD, "Li Hua", "a real plume")])
    part = slice(1440 + 300, 1440 + 310)
    assert (good["co2_flag"].values[part] == Flag.GOOD).all()
    assert (found(good["co2_tests"].values, Cause.SPIKE_REBS)[part] == Outcome.SUSPECT).all()


def test_minutes_of_before_may_come_from_elsewhere():
    ds = readings(9)
    config = configuration(sd={}, rebs={}, reject="sd", attenuation={"window_seconds": 21_600, "suspect": 0.3})
    cut = np.datetime64(START + 7 * DAY + 5 * HOUR, "ns")
    whole = run(ds, config, interval="minute")
    margin = np.timedelta64(int(config.margin_seconds * 1e9), "ns")
    late = ds.isel(time=ds["time"].values >= cut - margin)
    earlier = whole.isel(time=whole["time"].values < cut)
    piece = run(late, config, interval="minute", start=cut, earlier=earlier)
    of_whole = whole.isel(time=whole["time"].values > cut)
    for name in piece.data_vars:
        assert piece[name].values.tobytes() == of_whole[name].values.tobytes(), name


@pytest.mark.parametrize(
    ("tests", "sentence"),
    [
        ({"sdd": {}}, r"tests.sdd: is not known, did you mean 'sd'\?"),
        ({"reject": "sd"}, r"tests.reject: is 'sd', and there is no sd = \{...\} to find those spikes"),
        ({"rebs": {"bandwidth_minutes": 1000}}, "tests.rebs.bandwidth_minutes: is 1000, expected at most 360"),
        ({"flat_line": {"tolerance": 0.1}}, "tests.flat_line.suspect_seconds: is missing, expected a number from 60"),
        ({"attenuation": {"window_seconds": 7000, "suspect": 1}}, "window_seconds: is 7000, expected a part of a day"),
        ({"climatology": [{"months": [13]}]}, "months: holds 13, expected a list of whole numbers from 1 to 12"),
        ({"rate": {}}, "tests.rate.suspect: is missing, expected a number"),
    ],
)
def test_what_is_wrong_in_a_configuration_is_said_with_its_place(tests, sentence):
    with pytest.raises(ConfigError, match=sentence):
        configuration(**tests)
