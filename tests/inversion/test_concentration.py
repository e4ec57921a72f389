"""Fluxes carried forward: nothing is lost, and what a footprint says is what arrives."""

import numpy as np
import pytest
import xarray as xr

from inversion.datasets import FLUX_UNITS
from inversion.errors import FootprintError
from inversion.transport import particles
from inversion.transport.concentration import field
from inversion.transport.kernel import M_AIR
from tests.inversion.air import SCALE_HEIGHT, SURFACE_DENSITY, uniform

START = np.datetime64("1970-01-01T06", "ns")
AXIS = np.arange(-1.9, 2, 0.2)


def even(value=1e-8, **where):
    values = np.zeros((AXIS.size, AXIS.size))
    part = tuple(slice(*where.get(name, (None, None))) for name in ("latitude", "longitude"))
    values[part] = value
    return xr.DataArray(
        values, {"latitude": AXIS, "longitude": AXIS}, ("latitude", "longitude"), attrs={"units": FLUX_UNITS}
    )


def test_nothing_is_lost_while_it_stays_inside():
    met = uniform(1000.0, 0.35, -40.0, wind=(2.0, 0.0))
    flux = even(latitude=(8, 12), longitude=(4, 8))
    edges = np.array([0.0, 200.0, 500.0, 1000.0, 3000.0])
    found = field(flux, met, edges, start=START, hours=4, particles=60)
    assert found.dims == ("time", "height", "latitude", "longitude")
    radius, step = 6_371_000.0, np.radians(0.2)
    area = radius**2 * step * np.diff(np.sin(np.radians(np.r_[AXIS - 0.1, 2.0])))
    rho = SURFACE_DENSITY * np.exp(-found["height"].values / SCALE_HEIGHT)
    air = rho[:, None, None] * np.diff(edges)[:, None, None] * area[None, :, None] / M_AIR
    borne = (found.values * air).sum(axis=(1, 2, 3))
    given = (flux.values * area[:, None]).sum() * 3600 * np.arange(1, 5)
    np.testing.assert_allclose(borne, given, rtol=0.02)  # density between levels is not quite that of the formula
    assert found.values[-1, 3].max() == 0  # nothing above the layer


def test_a_footprint_times_a_flux_is_what_arrives():
    met = uniform(1000.0, 0.35, -40.0, wind=(3.0, 0.0), half=4.0)
    flux = even()
    found = field(flux, met, np.array([0.0, 250.0, 500.0, 750.0, 1000.0]), start=START, hours=8, particles=60)
    there = found.isel(time=-1, latitude=slice(6, 14), longitude=slice(12, 16)).mean(("latitude", "longitude"))
    where = xr.Dataset(
        {
            "time": ("receptor", np.repeat(found["time"].values[-1], 12)),
            "longitude": ("receptor", np.tile([0.6, 0.8, 1.0], 4)),
            "latitude": ("receptor", np.zeros(12)),
            "height": ("receptor", np.repeat([125.0, 375.0, 625.0, 875.0], 3)),
        }
    )
    grid = xr.Dataset(coords={"longitude": AXIS, "latitude": AXIS})
    fp = particles.footprints(where, met, grid, particles=2000, hours_back=8)
    arrives = (fp["srr"] * flux).sum(("latitude", "longitude")).values.reshape(4, 3).mean(axis=1)
    np.testing.assert_allclose(there.values, arrives, rtol=0.06)


def test_the_same_seed_gives_the_same_field_and_fluxes_may_change():
    met = uniform(800.0, 0.4)
    fluxes = xr.concat([even(1e-8), even(0.0)], "time").assign_coords(time=[START, START + np.timedelta64(1, "h")])
    fluxes.attrs["units"] = FLUX_UNITS
    one, two = (field(fluxes, met, np.array([0.0, 800.0]), start=START, hours=2, particles=6, seed=5) for _ in range(2))
    assert one.values.tobytes() == two.values.tobytes()
    assert one.values[1].sum() == pytest.approx(one.values[0].sum(), rel=0.01)


def test_what_is_refused():
    met = uniform(800.0, 0.4)
    edges = np.array([0.0, 800.0])

    def refused(match, flux=None, heights=edges, **more):
        with pytest.raises(FootprintError, match=match):
            field(even() if flux is None else flux, met, heights, **{"start": START, "hours": 2} | more)

    refused("has the units 'kg'", even().assign_attrs(units="kg"))
    refused("3 values that are not finite", even(np.nan, latitude=(0, 1), longitude=(0, 3)))
    refused("heights are not edges", heights=edges[::-1])
    refused("the particles need", hours=100)
    refused("hours is 0, expected 1 or more", hours=0)
    late = even().expand_dims(time=[START + np.timedelta64(1, "h")]).assign_attrs(units=FLUX_UNITS)
    refused("They begin at 1970-01-01T07", late)
