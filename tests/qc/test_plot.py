"""Figures of quality control: the data they show, labels that can be read, and what they refuse."""

import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

import qc
from qc import curve, plot, target
from qc.errors import QcError
from qc.flags import Cause, Flag, Outcome, outcome
from qc.pipeline import calibrated, injections, run, targets
from tests.drawn import DEFICIENCIES, legend_of, line, png, told_apart, unreadable
from tests.qc.test_calibrated_chain import Config, document, instrument

UNIT = re.compile(r"\[.+\]|\(UTC.*\)|^minutes a day$|^year$|^day of \d{4}-\d\d$")
"""What ends a label: its unit, or what is counted or dated."""


@pytest.fixture(scope="module")
def made():
    """Minutes, hours, calibration and target of nine days with spikes, an outage and a range passed."""
    ds, second, _ = instrument(9)
    rng, air = np.random.default_rng(3), ds["co2"].values.copy()
    for k in rng.integers(0, air.size - 10, 60).tolist():
        air[k : k + int(rng.integers(3, 10))] += rng.uniform(2, 12)
    air[(second > 4.2 * 86_400) & (second < 4.3 * 86_400)] = 900.0
    air[(second > 5.2 * 86_400) & (second < 5.6 * 86_400)] = np.nan
    ds["co2"].values[:] = air
    described = document()
    described["species"]["co2"] |= {"tests": {"sd": {}, "rebs": {}, "reject": "rebs"}, "range": {"bad": [300, 800]}}
    config = Config.from_dict(described)
    minutes, hours = (run(ds, config, interval=interval) for interval in ("minute", "hour"))
    found = injections(ds, config)
    return minutes, hours, calibrated(found, config)["co2"], targets(found, config)["co2"]["tank5"]


@pytest.fixture(scope="module")
def record():
    """Twelve years of weeks whose trend and cycle are known."""
    week = np.datetime64("2010-01-04T12:00", "ns") + 7 * 86_400 * 10**9 * np.arange(626) * np.timedelta64(1, "ns")
    t = curve.decimal_years(week)
    value = 390 + 2.2 * (t - 2010) + 3 * np.sin(2 * np.pi * t)
    value += np.random.default_rng(5).normal(0, 0.3, t.size)
    value[100:104] = np.nan
    return curve.fit(week, value), value


def everything(made, record):
    minutes, hours, known, history = made
    fit, value = record
    return {
        "series": plot.series(hours, "co2", minutes=minutes),
        "coverage": plot.coverage(hours, "co2"),
        "flags": plot.flags(minutes, "co2"),
        "uncertainty": plot.uncertainty(hours, "co2"),
        "spikes": plot.spikes(minutes, "co2"),
        "diurnal": plot.diurnal(hours, "co2", offset_hours=8, least=10),
        "calibration": plot.calibration(known, ["tank2", "tank3", "tank4"], unit="ppm"),
        "target": plot.target(history, name="tank5", gas="co2", unit="ppm"),
        "curve": plot.curve(fit, value, gas="co2", unit="ppm"),
    }


def test_every_axis_says_its_unit_and_no_label_stands_on_another(made, record):
    before = dict(mpl.rcParams)
    drawn = everything(made, record)
    assert set(drawn) == {name for name in plot.__all__ if name.islower()}
    for name, figure in drawn.items():
        assert isinstance(figure, Figure)
        assert unreadable(figure) == [], name
        for axes in figure.axes:
            assert UNIT.search(axes.get_ylabel().replace("\n", " ")) or axes.get_ylabel() == "hour (UTC)", name
        assert UNIT.search(figure.axes[-1].get_xlabel()), name
    assert dict(mpl.rcParams) == before


def test_the_same_data_give_the_same_bytes(made, record):
    once, again = (everything(made, record) for _ in range(2))
    assert {name: png(figure) for name, figure in once.items()} == {name: png(f) for name, f in again.items()}


@pytest.mark.parametrize("kind", ["", *DEFICIENCIES])
def test_colours_are_told_apart_by_all_eyes(kind):
    flags = [plot.COLOURS[one] for one in (Flag.GOOD, Flag.NOT_EVALUATED, Flag.SUSPECT, Flag.BAD, Flag.MISSING)]
    assert told_apart(flags, kind) > 15
    assert told_apart(["#2ca02c", "#d62728"], "deutan") < told_apart(["#2ca02c", "#d62728"]) / 2  # the measure measures


def test_the_line_is_that_of_good_hours_and_broken_where_none_are(made):
    minutes, hours, _, _ = made
    gone = hours.isel(time=np.r_[0:50, 60 : hours.sizes["time"]])
    time, value = line(plot.series(gone, "co2", minutes=minutes), "good hours")
    good = gone["co2"].values[gone["co2_flag"].values == Flag.GOOD]
    np.testing.assert_array_equal(value[np.isfinite(value)], good)
    begin, end = gone["time_bnds"].values[50, 0], gone["time_bnds"].values[49, 1]
    assert end < begin
    (between,) = np.flatnonzero((time >= end) & (time < begin))
    assert np.isnan(value[between])
    rejected = line(plot.series(hours, "co2", minutes=minutes), "minutes rejected, value kept")[1]
    kept = (minutes["co2_flag"].values != Flag.GOOD) & np.isfinite(minutes["co2"].values)
    assert np.isfinite(rejected).sum() == kept.sum() > 50


def test_each_hour_has_the_colour_of_its_flag(made):
    hours = made[1]
    figure = plot.coverage(hours, "co2")
    grid = np.asarray(figure.axes[0].collections[0].get_array())
    order = list(plot.COLOURS)
    for flag in (Flag.GOOD, Flag.BAD):
        assert (grid == order.index(flag)).sum() == (hours["co2_flag"].values == flag).sum() > 0
    assert grid.size - (grid == order.index(Flag.MISSING)).sum() == hours.sizes["time"]
    assert {"good", "bad", "missing"} <= set(legend_of(figure))


def test_a_year_of_hours_is_dated():
    start = np.datetime64("2025-01-01", "ns") + np.arange(0, 24 * 200, 1) * np.timedelta64(3600 * 10**9, "ns")
    hours = xr.Dataset(
        {
            "co2": ("time", np.full(start.size, 420.0), {"units": "umol mol-1"}),
            "co2_flag": ("time", np.ones(start.size, np.int8)),
            "time_bnds": (("time", "nv"), np.stack([start, start + np.timedelta64(3600 * 10**9, "ns")], axis=1)),
        },
        coords={"time": start},
    )
    figure = plot.coverage(hours, "co2")
    assert unreadable(figure) == []
    assert figure.axes[0].get_xlabel() == "time (UTC)"


def test_bars_of_flags_are_the_minutes_of_the_day(made):
    minutes = made[0]
    bars = [bar for bar in plot.flags(minutes, "co2").axes[0].patches if bar.get_height() > 0]
    assert sum(bar.get_height() for bar in bars) == minutes.sizes["time"]
    day = minutes["time_bnds"].values[:, 0].astype("datetime64[D]")
    fourth = (day == day[0] + 4) & (minutes["co2_flag"].values == Flag.BAD)
    assert fourth.sum() in [bar.get_height() for bar in bars]


def test_spikes_are_those_the_tests_found_and_how_far_they_rise(made):
    minutes = made[0]
    sd, rebs = (
        outcome(minutes["co2_tests"].values, one) >= Outcome.SUSPECT for one in (Cause.SPIKE_SD, Cause.SPIKE_REBS)
    )
    figure = plot.spikes(minutes, "co2")
    assert f"by both ({(sd & rebs).sum()})" in legend_of(figure)
    assert f"spike by REBS ({(rebs & ~sd).sum()})" in legend_of(figure)
    assert (sd & rebs).sum() > 30
    time, baseline = line(figure, "baseline of REBS")
    known = np.isfinite(baseline)
    second = (time - minutes["time"].values[0]) / np.timedelta64(1, "s")
    truth = 420 + 5 * np.sin((second + 30) / 86_400 * 2 * np.pi)
    assert np.median(np.abs(baseline - truth)[known]) < 0.1
    heights = np.concatenate([one.get_ydata() for one in figure.axes[1].get_lines()[:-1]])
    assert 11 < np.nanmax(heights) < 25  # two of them may meet


def test_the_day_is_that_of_the_clock_and_of_good_hours(made):
    hours = made[1]
    figure = plot.diurnal(hours, "co2", offset_hours=8, least=10)
    (label,) = (one for one in legend_of(figure) if one.startswith("median of"))
    at, median = line(figure, label)
    good = hours.isel(time=np.flatnonzero(hours["co2_flag"].values == Flag.GOOD))
    clock = good["time"].values + np.timedelta64(8, "h")
    frame = {}
    for day in np.unique(clock.astype("datetime64[D]")):
        own = clock.astype("datetime64[D]") == day
        if own.sum() >= 10:
            values = good["co2"].values[own]
            for hour, apart in zip(
                (clock[own] - day).astype("timedelta64[h]").astype(int), values - values.mean(), strict=True
            ):
                frame.setdefault(int(hour), []).append(apart)
    expected = [np.median(frame[hour]) for hour in range(24)]
    np.testing.assert_allclose(median, expected, atol=1e-9)
    assert at.tolist() == [hour + 0.5 for hour in range(24)]
    assert figure.axes[1].get_xlabel() == "hour of the day (UTC+8 h)"
    assert sum(bar.get_height() for bar in figure.axes[1].patches) == sum(map(len, frame.values()))


def test_a_records_curves_are_those_of_the_fit(record):
    fit, value = record
    figure = plot.curve(fit, value, gas="co2", unit="ppm")
    np.testing.assert_array_equal(line(figure, "trend")[1], fit.trend)
    np.testing.assert_array_equal(line(figure, "smooth curve")[1], fit.smooth)
    season = line(figure, "harmonics of the fit")[1]
    np.testing.assert_allclose(season, 3 * np.sin(2 * np.pi * fit.time), atol=0.15)
    growth = figure.axes[3].get_lines()[0].get_ydata()
    np.testing.assert_allclose(growth[50:-50], 2.2, atol=0.4)
    assert figure.axes[3].get_ylabel() == "growth rate\n[ppm a⁻¹]"
    assert f"standard deviation {fit.rsd_smooth:.3g} ppm" == figure.axes[2].get_title(loc="right")


def test_calibration_and_target_show_what_they_are_given(made):
    _, _, known, history = made
    figure = plot.calibration(known, ["a", "b", "c"], unit="ppm")
    for k, name in enumerate("abc"):
        np.testing.assert_array_equal(line(figure, name)[1], known.residual[:, k])
    np.testing.assert_array_equal(figure.axes[1].get_lines()[0].get_ydata(), 1000 * known.coefficients[:, 1])
    shown = plot.target(history, name="tank5", gas="co2", unit="ppm")
    np.testing.assert_array_equal(line(shown, "measured - assigned")[1], history.bias)
    assert "goal ±0.1" in legend_of(shown)


def test_the_lines_on_the_page_draw(made, record, tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "qc" / "README.md").read_text(encoding="utf-8")
    lines = re.search(r"\n    from qc import plot\n((?:    .*\n)+)", page)[1]
    monkeypatch.chdir(tmp_path)
    fit, value = record
    names = {"minutes": made[0], "hours": made[1], "time": fit.time, "value": value, "plot": plot, "qc": qc}
    exec("\n".join(line[4:] for line in lines.splitlines()), names)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["month.png", "record.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in tmp_path.iterdir())


def test_what_cannot_be_drawn_is_refused_in_a_sentence(made, record):
    minutes, hours, known, history = made
    fit, value = record
    nothing = target.History(*(np.empty(0, each.dtype) for each in history))
    refusals = (
        (lambda: plot.series(hours, "ch4"), r"hours have no 'ch4', they have co2: name one of those"),
        (lambda: plot.series(xr.Dataset(), "co2"), "hours have no 'co2', they have no gas at all"),
        (lambda: plot.coverage(hours.isel(time=slice(0)), "co2"), "not one of the hours"),
        (lambda: plot.flags(minutes.drop_vars("time_bnds"), "co2"), "minutes lack time_bnds: give them as"),
        (lambda: plot.uncertainty(hours.drop_vars("co2_uncertainty"), "co2"), "hours lack co2_uncertainty"),
        (lambda: plot.spikes(hours.drop_vars("co2_tests", errors="ignore"), "co2"), "minutes lack co2_tests"),
        (lambda: plot.spikes(minutes.assign(co2_tests=0 * minutes["co2_tests"]), "co2"), "no minute of co2 was tested"),
        (lambda: plot.diurnal(hours, "co2", least=25), r"no day has 25 good hours of co2, the best has 24"),
        (lambda: plot.diurnal(hours, "co2", offset_hours=800), "offset_hours is 800, expected hours from UTC"),
        (lambda: plot.calibration(known, ["a"], unit="ppm"), "1 names for 3 standards"),
        (lambda: plot.target(nothing, name="tank5", gas="co2", unit="ppm"), "tank5 has no injection with co2"),
        (lambda: plot.curve(fit, value[1:], gas="co2", unit="ppm"), "625 values for 626 times"),
    )
    for draw, words in refusals:
        with pytest.raises(QcError, match=words) as refused:
            draw()
        assert "\n" not in str(refused.value)
