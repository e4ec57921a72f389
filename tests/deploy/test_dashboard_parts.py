"""The parts of the network page that need no browser: what is written, drawn, joined, chosen."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from deploy.dashboard import borders, comparison, network, timeseries, wording
from deploy.dashboard.timeseries import Choice, Seen
from deploy.errors import DeployError
from ingest.screen import Envelope, Series
from ingest.standing import Grade, Standing
from inversion import report
from inversion.wording import with_sigma
from qc.flags import Flag
from tests.inversion.test_report_in_browser import annex_of, table_of

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SERIES = Series("lin-an", "50m", 50.0, "co2", evaluated=True, instruments=("g2301",))


def standing(name, age=None, *, latitude=30.0, longitude=120.0):
    reading = None if age is None else NOW - age
    return Standing(name, "", latitude, longitude, reading, reading)


def envelope(seconds, low, high=None, *, step=timedelta(0), source="minute"):
    low = np.asarray(low, dtype=float)
    time = np.datetime64("2026-03-01", "ns") + np.asarray(seconds) * np.timedelta64(1_000_000_000, "ns")
    return Envelope(
        time, np.ones(low.size, int), low, low, low if high is None else np.asarray(high, float), step, source
    )


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (timedelta(0), "0 s"),
        (timedelta(seconds=61), "1 min 1 s"),
        (timedelta(hours=2), "2 h"),
        (timedelta(days=400, minutes=3), "400 d"),
        (timedelta(seconds=-90), "1 min 30 s ahead"),
        (None, "–"),
    ],
)
def test_lengths_of_time_are_written_in_two_units(length, text):
    assert wording.span(length) == text


def test_every_grade_has_a_colour_a_shape_and_a_word_of_its_own():
    for part in range(3):
        assert len({look[part] for look in network.LOOKS.values()}) == len(Grade)
    assert set(network.MEANING) == set(Grade)


def test_the_table_begins_with_who_needs_somebody():
    stations = [standing("a", timedelta(0)), standing("b", timedelta(hours=1)), standing("c", timedelta(days=2))]
    html = network.table([*stations, standing("d")], NOW)
    places = [html.index(f'data-station="{name}"') for name in "cbda"]
    assert places == sorted(places)
    assert html.count("<b>1</b>") == 4


def test_names_on_the_map_hide_neither_each_other_nor_a_mark():
    drawn = network.Map()
    near = [standing(f"station-{k}", latitude=30 + 0.01 * k, longitude=120.0) for k in range(30)]
    drawn.show([*near, standing("far-away", latitude=40.0, longitude=100.0)], NOW)
    labels = [label for label in drawn.chosen.data["label"] if label]
    assert "far-away" in labels
    assert len(labels) < 5
    assert drawn.figure.x_range.start < min(drawn.chosen.data["x"])
    assert drawn.figure.x_range.end > max(drawn.chosen.data["x"])


def test_the_plane_is_that_of_web_mercator():
    x, y = borders.plane([0.0, 180.0, 120.0], [0.0, 0.0, 30.0])
    np.testing.assert_allclose(x, [0, 20037508.342789, 13358338.895193], rtol=1e-12)
    np.testing.assert_allclose(y, [0, 0, 3503549.843504], rtol=1e-12, atol=1e-6)
    assert len(borders.provinces().x) > 34
    assert len(borders.dashes().x) >= 9


def test_a_line_joins_what_follows_and_breaks_where_nothing_is():
    line = timeseries._line(envelope([0, 60, 120, 3600, 3660], [1.0, 2.0, 3.0, 4.0, 5.0]))
    assert np.isnan(line["y"]).sum() == 1
    assert np.flatnonzero(np.isnan(line["y"])).tolist() == [6]
    step = timedelta(minutes=1)
    ends = timeseries._line(envelope([0, 60], [1.0, 2.0], [9.0, 3.0], step=step))
    assert ends["y"].tolist() == [1.0, 9.0, 2.0, 3.0]
    assert ends["x"][0] == ends["x"][1] == timeseries.milliseconds(NOW + step / 2)
    assert timeseries._line(None)["x"].size == 0


def test_lowest_and_highest_are_both_marked_and_single_values_once():
    marks = timeseries._marks(envelope([0, 60], [1.0, 2.0], [9.0, 2.0]), "bad", few=False)
    assert sorted(marks["y"].tolist()) == [1.0, 2.0, 9.0]
    assert set(marks["word"]) == {"bad"}


@pytest.mark.parametrize("said", [float("nan"), float("inf"), -1e300, 1e300, None, "x", True])
def test_whatever_a_visitor_says_is_a_time(said):
    assert datetime(1900, 1, 1, tzinfo=UTC) <= timeseries.moment(said) <= datetime(2200, 1, 1, tzinfo=UTC)


def test_windows_are_bounded():
    for length in (timedelta(0), timedelta(days=-5), timedelta(days=70_000)):
        start, end = timeseries.bounded(NOW - timedelta(days=40_000), NOW - timedelta(days=40_000) + length)
        assert timeseries.SHORTEST <= end - start <= timeseries.LONGEST


def test_what_a_figure_is_made_of_is_said():
    def said(one, instrument=None):
        return timeseries.caption(Seen(Choice(SERIES, instrument), NOW, NOW, {int(Flag.GOOD): one}, ()))

    assert said(envelope([0], [1.0])).startswith("1 minute means, each of them.")
    binned = envelope([0, 540], [1.0, 2.0], step=timedelta(minutes=9), source="hour")
    assert said(binned).startswith("2 hour means in intervals of 9 min, from the lowest to the highest of each. Ctrl")
    assert "2 readings in intervals of 9 min" in said(binned, "g2301")
    assert "with calibration gas where there is any" in said(binned, "g2301")
    assert said(envelope([], [])).startswith("Nothing in this window.")


def test_the_ways_to_look_at_a_series():
    assert list(timeseries.choices(SERIES)) == [timeseries.MEANS, "readings of g2301, as sent"]
    unjudged = Series("lin-an", "50m", 50.0, "co2", evaluated=False, instruments=("g2301",))
    assert list(timeseries.choices(unjudged)) == ["readings of g2301, as sent"]


# --- the cross-check -----------------------------------------------------------------------------


def test_the_newest_cross_check_of_a_folder_is_shown_with_what_differs_first(tmp_path):
    source = comparison.Source(tmp_path)
    assert source.latest() is None
    report.write_annex(annex_of(table_of(8)), tmp_path / "old")
    report.write_annex(annex_of(table_of(8, seed=4)), tmp_path / "new")
    assert source.latest() == tmp_path / "new/crosscheck.nc"
    html = comparison.table(tmp_path / "old/crosscheck.nc")
    with xr.open_dataset(tmp_path / "old/crosscheck.nc") as ds:
        codes = ds["country"].values.tolist()
        kt = {name: ds[f"{name}flux_total_posterior_country"].values.ravel() / 1e6 for name in ("", "stdev_")}
    assert all(code in html for code in codes)
    assert all(with_sigma(*pair) in html for pair in zip(kt[""], kt["stdev_"], strict=True))
    verdicts = [
        html.index(f"</span> {word}") for word in ("higher", "agree", "not resolved") if f"</span> {word}" in html
    ]
    assert verdicts == sorted(verdicts)
    assert len(verdicts) >= 2


def test_what_is_no_cross_check_is_said(tmp_path):
    with pytest.raises(DeployError, match="there is no such file or folder"):
        comparison.Source(Path("/nowhere"))
    (tmp_path / "crosscheck.nc").write_text("no")
    with pytest.raises(DeployError, match=r"crosscheck\.nc cannot be read"):
        comparison.table(tmp_path / "crosscheck.nc")
    xr.Dataset({"a": 1}).to_netcdf(tmp_path / "crosscheck-2.nc")
    with pytest.raises(DeployError, match="is no cross-check, it has no crosscheck_verdict_country"):
        comparison.table(tmp_path / "crosscheck-2.nc")
