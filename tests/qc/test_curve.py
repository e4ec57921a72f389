"""Trend, seasonal cycle and growth of a record."""

import numpy as np
import pytest

from qc import curve
from qc.errors import QcError


def record(years=12, step=7.0, start=2000.0, seed=1, noise=0.3):
    """A made-up record: quadratic trend, two harmonics, noise; and its parts."""
    time = start + np.arange(0, years * 365, step) / 365
    x = time - start
    trend = 370 + 1.8 * x + 0.02 * x**2
    season = 3 * np.sin(2 * np.pi * x) + 0.8 * np.cos(4 * np.pi * x)
    value = trend + season + np.random.default_rng(seed).normal(0, noise, time.size)
    return time, value, trend, season


def test_mauna_loa_as_the_reference_has_it(shared):
    """Function, smooth and trend within 1e-3 ppm, growth within 2e-3 ppm a year, everywhere, the ends included."""
    folder = shared / "data/curve"
    time, value = np.loadtxt(folder / "mlo_weekly_input.csv", delimiter=",", skiprows=1, unpack=True)
    at, function, smooth, trend, growth = np.loadtxt(
        folder / "mlo_weekly_reference.csv", delimiter=",", skiprows=1, unpack=True
    )
    fitted = curve.fit(time, value)
    found = fitted(at.clip(time[0], time[-1]))  # its times are rounded to 1e-6 years
    for name, expected in (("function", function), ("smooth", smooth), ("trend", trend)):
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-3, err_msg=name)
    np.testing.assert_allclose(found["growth_rate"], growth, rtol=0, atol=2e-3)
    assert fitted.rsd_function == pytest.approx(0.7927, abs=1e-4)
    assert fitted.rsd_smooth == pytest.approx(0.2826, abs=1e-4)


def test_a_known_trend_is_found():
    time, value, trend, season = record()
    fitted = curve.fit(time, value)
    inner = slice(60, -60)
    assert np.abs(fitted.trend - trend)[inner].max() < 0.3
    assert np.sqrt(np.mean((fitted.function - trend - season) ** 2)) < 0.1
    assert np.abs(fitted.growth_rate - np.gradient(trend, time))[inner].max() < 0.6
    assert fitted.rsd_function == pytest.approx(0.3, rel=0.1)
    assert fitted.rsd_smooth < fitted.rsd_function


def test_what_the_function_says_is_not_filtered():
    time, _, trend, season = record()
    fitted = curve.fit(time, trend + season)
    for found, expected in ((fitted.function, trend + season), (fitted.smooth, trend + season), (fitted.trend, trend)):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-8)
    np.testing.assert_allclose(fitted.coefficients[:5], [370, 1.8, 0.02, 3, 0], atol=1e-8)


def test_order_and_gaps_do_not_matter_and_missing_values_have_curves():
    time, value, *_ = record()
    whole = curve.fit(time, value)
    shuffled = np.random.default_rng(2).permutation(time.size)
    again = curve.fit(time[shuffled], value[shuffled])
    np.testing.assert_allclose(again.smooth, whole.smooth, atol=1e-9)
    value[100:140] = np.nan
    gap = curve.fit(time, value)
    assert gap.trend.shape == time.shape
    assert np.isfinite(gap.smooth).all()
    without = curve.fit(np.delete(time, range(100, 140)), np.delete(value, range(100, 140)))
    np.testing.assert_allclose(np.delete(gap.trend, range(100, 140)), without.trend, atol=1e-12)


def test_dates_are_decimal_years():
    dates = np.array(["2001-01-01", "2001-07-02T12:00", "2004-01-02", "NaT"], dtype="datetime64[ns]")
    np.testing.assert_allclose(curve.decimal_years(dates), [2001.0, 2001.5, 2004 + 1 / 366, np.nan])
    time, value, *_ = record()
    days = np.datetime64("2000-01-01", "ns") + (np.arange(time.size) * 7 * 86_400 * 10**9).astype("timedelta64[ns]")
    fitted = curve.fit(days, value)
    assert np.all(np.diff(fitted.time) > 0)
    np.testing.assert_allclose(fitted(days)["trend"], fitted.trend)


def test_outside_of_the_record_there_is_the_function_alone():
    time, value, *_ = record()
    found = curve.fit(time, value)([1999.0, 2005.0, 2030.0])
    assert np.isfinite(found["function"]).all()
    for name in ("smooth", "trend", "growth_rate"):
        assert np.isfinite(found[name]).tolist() == [False, True, False]


def test_harmonics_a_record_is_too_coarse_for_are_left_out():
    time, value, *_ = record(years=40, step=91.25)
    assert curve.fit(time, value).coefficients.size == 3 + 2 * 2


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"value": np.ones(3)}, r"expected \(n,\) and \(n,\)"),
        ({"time": np.full(626, np.nan)}, "626 times are missing"),
        ({"short_cutoff": 700.0}, "expected 0 < short < long"),
        ({"n_poly": 0}, "expected at least 1 and 0"),
        ({"long_cutoff": 1e5}, "span less than the long cutoff of 100000 days"),
        ({"n_poly": 700}, "values are too few for 700 terms"),
    ],
)
def test_what_cannot_be_is_said(change, sentence):
    time, value, *_ = record()
    arguments = {"time": time, "value": value, **change}
    with pytest.raises(QcError, match=sentence):
        curve.fit(**arguments)
