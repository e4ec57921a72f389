"""Passage of air: the paths are those of the footprints, time is conserved, the lowest layer is the footprint."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from inversion.datasets import SRR_UNITS
from inversion.errors import FootprintError
from inversion.transport import analytic, kernel, particles, receptors
from inversion.transport.passage import passage
from tests.inversion.air import SCALE_HEIGHT, SURFACE_DENSITY, uniform

GRID = xr.Dataset(coords={"longitude": np.arange(-3, 3.1, 0.5), "latitude": np.arange(-3, 3.1, 0.5)})
LAYER = 800.0
EDGES = np.array([0.0, 100.0, 200.0, 400.0, 600.0, 800.0, 1200.0, 3000.0])


def inlet(height, time="1970-01-02T00:00", longitude=0.0, latitude=0.0):
    place = {"site": "here", "longitude": longitude, "latitude": latitude, "height": height}
    return receptors.stations([place], np.array([time], "datetime64[ns]"))


@pytest.fixture(scope="module")
def windy():
    """Footprint and passage of one receptor in a wind to the east, a day back, in a layer that never changes."""
    met, place = uniform(LAYER, 0.4, wind=(3.0, 0.0)), inlet(300.0)
    options = {"particles": 600, "hours_back": 12, "seed": 4}
    kept = {"hourly": True, "endpoints": True}
    return particles.footprints(place, met, GRID, **options, **kept), passage(place, met, GRID, EDGES, **options)


def test_the_lower_half_of_the_layer_is_the_footprint_of_the_same_particles(windy):
    fp, found = windy
    assert found["srr_layer"].attrs["units"] == SRR_UNITS
    lower = found["srr_layer"].isel(receptor=0, height=slice(0, 3))
    depth = np.diff(EDGES)[:3]
    mixed = (lower * xr.DataArray(depth / depth.sum(), dims="height")).sum("height")
    # ρ is that of the box here, and that of the middle of the half there: the same on the mean.
    assert float(mixed.sum()) == pytest.approx(float(fp["srr"].sum()), rel=0.01)
    ours, theirs = mixed.sum("hours_back").values, fp["srr"].values[0]
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.999
    by_hour = mixed.sum(("latitude", "longitude")).values, fp["srr_time_resolved"].values[0].sum(axis=(1, 2))
    np.testing.assert_allclose(*by_hour, rtol=0.12)


def test_no_time_is_lost_while_particles_are_inside(windy):
    fp, found = windy
    assert float(fp["fraction_outside"][0]) == 0.0
    spent = found["residence_time"].isel(receptor=0)
    np.testing.assert_allclose(spent.sum(("height", "latitude", "longitude")), 3600.0, rtol=1e-5)
    # After hours in the layer, where it is of constant density in mass, each height has its share.
    late = spent.isel(hours_back=slice(6, None)).sum(("hours_back", "latitude", "longitude")).values
    held = np.exp(-EDGES[:-1] / SCALE_HEIGHT) - np.exp(-EDGES[1:] / SCALE_HEIGHT)
    inside = EDGES[1:] <= LAYER
    np.testing.assert_allclose(late[inside] / late.sum(), held[inside] / held[inside].sum(), atol=0.02)
    assert late[~inside].sum() == 0.0


def test_a_layers_sensitivity_is_that_of_its_mass(windy):
    found = windy[1].isel(receptor=0)
    ratio = (found["srr_layer"] / found["residence_time"]).max(("hours_back", "latitude", "longitude")).values[:5]
    middle, depth = 0.5 * (EDGES[1:] + EDGES[:-1])[:5], np.diff(EDGES)[:5]
    rho = SURFACE_DENSITY * np.exp(-middle / SCALE_HEIGHT)
    np.testing.assert_allclose(ratio, kernel.M_AIR / (rho * depth), rtol=0.02)


def test_the_density_is_that_of_the_time_when_the_air_was_there():
    met = uniform(LAYER, 0.4, wind=(0.5, 0.0))
    hour = met.time / 3600
    thinner = replace(met, rho=(met.rho * (1 - 0.01 * hour)[:, None, None, None]).astype(np.float32))
    found = passage(inlet(300.0), thinner, GRID, EDGES, particles=100, hours_back=12).isel(receptor=0)
    ratio = (found["srr_layer"] / found["residence_time"]).max(("height", "latitude", "longitude")).values
    back = 24 - (np.arange(12) + 0.5)
    np.testing.assert_allclose(ratio / ratio[0], (1 - 0.01 * back[0]) / (1 - 0.01 * back), rtol=0.005)
    assert ratio[-1] < 0.9 * ratio[0]


def test_air_comes_from_where_the_wind_comes_from(windy):
    found = windy[1].isel(receptor=0)["residence_time"]
    weight = found.sum(("height", "latitude"))
    centre = (weight * found["longitude"]).sum("longitude") / weight.sum("longitude")
    assert (np.diff(centre.values) < 1e-6).all()  # within a cell it stands still
    assert float(centre[-1]) < -0.8


def test_what_leaves_the_grid_is_no_longer_counted():
    met, place = uniform(LAYER, 0.4, wind=(15.0, 0.0)), inlet(300.0)
    spent = passage(place, met, GRID, EDGES, particles=50, hours_back=12)["residence_time"]
    by_hour = spent.sum(("receptor", "height", "latitude", "longitude")).values
    assert by_hour[0] == pytest.approx(3600.0)
    assert by_hour[-1] == 0.0


def test_paths_do_not_depend_on_what_else_is_computed():
    weather = analytic.Weather(noon=4.5)
    times = np.arange("2025-07-01", "2025-07-03", dtype="datetime64[h]").astype("datetime64[s]")
    met = analytic.fields(times, np.arange(105.0, 126.0), np.arange(25.0, 45.0), weather)
    grid = xr.Dataset(coords={"longitude": np.arange(108.0, 122.0), "latitude": np.arange(28.0, 42.0)})
    two = xr.concat([inlet(50.0, "2025-07-02T06:30", 117, 36), inlet(1500.0, "2025-07-02T06:30", 117, 36)], "receptor")
    options = {"particles": 40, "hours_back": 8, "seed": 1}
    both, one = passage(two, met, grid, EDGES, **options), passage(two.isel(receptor=[1]), met, grid, EDGES, **options)
    xr.testing.assert_identical(both["residence_time"].isel(receptor=[1]), one["residence_time"])
    shorter = passage(two.isel(receptor=[1]), met, grid, EDGES, **(options | {"hours_back": 5}))
    np.testing.assert_array_equal(shorter["residence_time"], one["residence_time"].isel(hours_back=slice(5)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"heights": [100.0]}, "not edges of boxes"),
        ({"heights": [0.0, 50.0, 20.0]}, "not edges of boxes"),
        ({"particles": 0}, "particles is 0"),
        ({"hours_back": 400}, "it reaches from|It reaches from"),
        ({"receptors": inlet(10.0, longitude=80.0)}, "outside of grid"),
    ],
)
def test_what_cannot_be_followed_is_refused(change, words):
    given = {"receptors": inlet(10.0), "meteorology": uniform(LAYER, 0.4), "grid": GRID, "heights": EDGES} | change
    with pytest.raises(FootprintError, match=words):
        passage(**given)
