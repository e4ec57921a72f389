"""Receptors of towers, aircraft and lists."""

import numpy as np
import pytest

from inversion.errors import FootprintError
from inversion.transport.receptors import read_receptors, stations, track

NOON = np.datetime64("2024-06-01T12", "ns")


def test_every_inlet_at_every_hour():
    inlets = [{"site": s, "longitude": 115.0, "latitude": 30.0, "height": h} for s, h in (("A", 10.0), ("A", 90.0))]
    ds = stations(inlets, NOON + np.arange(3) * np.timedelta64(1, "h"))
    assert ds["height"].values.tolist() == [10, 10, 10, 90, 90, 90]
    assert (ds["time"].values[:3] == ds["time"].values[3:]).all()


def test_a_track_across_the_date_line_is_averaged_on_the_right_side():
    time = NOON + np.array([0, 10, 60, 70]) * np.timedelta64(1, "s")
    longitude, latitude = np.array([179.8, 179.9, -179.9, -179.7]), np.array([10.0, 10.2, 11.0, 11.2])
    ds = track(time, longitude, latitude, np.full(4, 1500.0), ground=np.array([100.0, 100, 200, 300]), every=60.0)
    np.testing.assert_allclose(ds["longitude"], [179.85, -179.8])
    np.testing.assert_allclose(ds["latitude"], [10.1, 11.1])
    np.testing.assert_allclose(ds["height"], [1400, 1250])
    assert ds["time"].values[0] == NOON + np.timedelta64(5, "s")


def test_a_track_below_the_ground_or_out_of_order_is_refused():
    time, place = NOON + np.arange(2) * np.timedelta64(1, "s"), np.array([10.0, 10.0])
    with pytest.raises(FootprintError, match="below the model's ground"):
        track(time, place, place, place, ground=50.0, every=1.0)
    with pytest.raises(FootprintError, match="must increase"):
        track(time[::-1], place, place, place, ground=0.0, every=1.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("time,longitude,latitude\n2024-01-01,1,2\n", "missing: height"),
        ("time,longitude,latitude,height\n2024-01-01,1,x,3\n", "'x'"),
    ],
)
def test_what_is_wrong_with_a_list_is_said(tmp_path, text, words):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(FootprintError, match=words):
        read_receptors(tmp_path / "list.csv")
