"""Figures and page of a month, of datasets alone."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from qc import calibration, plot, report, target
from qc.flags import Flag
from qc.pipeline import calibrated, cylinders, injections, run, targets
from qc.report import tables
from tests.qc.test_calibrated_chain import TANKS, Config, document, instrument

START, END = np.datetime64("2026-01-01"), np.datetime64("2026-02-01")


@pytest.fixture(scope="module")
def made():
    ds, _, _ = instrument(9)
    described = document()
    described["species"]["co2"]["tests"] = {"sd": {}, "rebs": {}, "rate": {"suspect": 20.0}, "gap": {}}
    config = Config.from_dict(described)
    minutes, hours = (run(ds, config, interval=interval) for interval in ("minute", "hour"))
    found = injections(ds, config)
    known = calibrated(found, config)["co2"]
    names, own = cylinders(config, "co2"), found["co2"]
    chosen = own.tank == names.index("tank5")
    value = calibration.apply(known, own.start[chosen], own.mean[chosen]).value
    held = np.full(chosen.sum(), TANKS["5"])
    history = target.history(own.start[chosen], value, own.stdev[chosen], own.minutes[chosen], held)
    for by_hand, by_chain in zip(history, targets(found, config)["co2"]["tank5"], strict=True):
        np.testing.assert_array_equal(by_chain, by_hand)
    return minutes, hours, known, history


def test_every_figure_is_drawn(made):
    minutes, hours, known, history = made
    for figure in (
        plot.series(hours, "co2", minutes=minutes),
        plot.series(hours, "co2"),
        plot.coverage(hours, "co2"),
        plot.flags(minutes, "co2"),
        plot.uncertainty(hours, "co2"),
        plot.calibration(known, ["tank2", "tank3", "tank4"], unit="ppm"),
        plot.target(history, name="tank5", gas="co2", unit="ppm"),
    ):
        assert isinstance(figure, Figure)
        figure.canvas.draw()
        assert all(axes.get_ylabel() for axes in figure.axes)


def test_the_numbers_are_those_of_the_datasets(made):
    minutes, hours, known, history = made
    row = tables.coverage(hours, "co2", inlet="50m", wanted=31 * 24)
    flags = hours["co2_flag"].values
    assert row.good == (flags == Flag.GOOD).sum()
    assert row.good + row.suspect + row.bad + row.not_evaluated + row.missing == 31 * 24
    assert row.provisional == hours["co2_provisional"].values.sum()
    ran, idle = tables.tests(minutes, "co2")
    told = {one.test: one for one in ran}
    assert told["rate"].evaluated > 10_000
    assert told["flushing"].set_flag == ((minutes["co2_cause"].values & 4) != 0).sum()
    assert "state" in idle
    assert "climatology" in idle
    assert len(tables.episodes(known, start=START, end=END)) == known.time.size
    assert tables.target("tank5", "co2", history).verdict == "within the goal"
    assert tables.target("tank5", "co2", history._replace(bias=history.bias + 1)).verdict == "beyond the goal"
    parts = tables.budget(hours, "co2", inlet="50m").parts
    assert parts["u_calibration"].startswith("0.0")
    assert "(" in parts["uncertainty"]


def page(series, **more):
    return report.render(
        station="abc", title="", place="30° N", start=START, end=END, series=series, version="1", **more
    )


def test_a_page_of_all_a_page_of_what_was_rejected_and_one_of_nothing(made):
    minutes, hours, known, history = made
    hung = report.Cylinders("g2301", "co2", "umol mol-1", ["tank2", "tank3", "tank4"], known, {"tank5": history})
    whole = page([report.Series("50m", 50.0, hours, minutes), report.Series("10m", 10.0, None, None)], cylinders=[hung])
    assert "No means in this month: 10m." in whole
    assert "Quality control of abc, 2026-01" in whole
    assert "<script" not in whole
    assert "http://" not in whole
    assert "https://" not in whole
    bad = hours.assign(
        co2=hours["co2"] * np.nan,
        co2_flag=xr.full_like(hours["co2_flag"], Flag.BAD),
        co2_uncertainty=hours["co2"] * np.nan,
    )
    assert "0 %" in page([report.Series("50m", 50.0, bad, None)])
    assert "Nobody decided anything" in page([report.Series("50m", 50.0, None, None)])
    none = report.Cylinders("g2301", "co2", "umol mol-1")
    assert "No calibration in this month." in page([report.Series("50m", 50.0, hours, None)], cylinders=[none])
