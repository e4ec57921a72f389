"""Small observations, footprints and fluxes to assemble problems from."""

import numpy as np
import xarray as xr

from inversion.datasets import FLUX_UNITS, FOOTPRINT, SRR_UNITS
from qc.schema import require

START = np.datetime64("2024-03-01", "ns")
HOUR = np.timedelta64(1, "h")
HALF = np.timedelta64(30, "m")
LATITUDE = np.arange(26.0, 34.0)
LONGITUDE = np.arange(108.0, 118.0)
GRID = xr.Dataset(coords={"latitude": LATITUDE, "longitude": LONGITUDE})
SITES = {"aaa": (110.2, 29.1, 50.0), "bbb": (115.6, 31.4, 100.0)}


def observations(n=48, *, sites=SITES, units="nmol mol-1", value=1950.0, uncertainty=1.0, seed=0, step=1):
    """n hours at each site, sorted by site and time, as `gather` gives them."""
    rng = np.random.default_rng(seed)
    size = n * len(sites)
    about = {"units": units}

    def each(k):
        return np.repeat([place[k] for place in sites.values()], n)

    return xr.Dataset(
        {
            "mole_fraction": ("obs", value + rng.normal(0, 10, size), {**about, "scale": "WMO CH4 X2004A"}),
            "uncertainty": ("obs", np.full(size, uncertainty), about),
            "stdev": ("obs", np.full(size, 2.0), about),
            "n": ("obs", np.ones(size), {"units": "1"}),
        },
        coords={
            "time": ("obs", np.tile(START + 24 * HOUR + HALF + step * np.arange(n) * HOUR, len(sites))),
            "site": ("obs", np.repeat(list(sites), n)),
            "inlet": ("obs", np.repeat([f"{place[2]:g}m" for place in sites.values()], n)),
            "longitude": ("obs", each(0)),
            "latitude": ("obs", each(1)),
            "height": ("obs", each(2)),
            "altitude": ("obs", np.full(size, 10.0)),
        },
    )


def footprints(obs, *, hours=None, named=True, seed=1, ends=0, scale=0.3, sides=False):
    """Footprints of observations: some cells, decaying away from the site; by hours back; endpoints; sides."""
    rng = np.random.default_rng(seed)
    n = obs.sizes["obs"]
    away = np.hypot(
        LATITUDE[None, :, None] - obs["latitude"].values[:, None, None],
        LONGITUDE[None, None, :] - obs["longitude"].values[:, None, None],
    )
    field = scale * np.exp(-away / 2.0) * rng.uniform(0.2, 1.0, (n, LATITUDE.size, LONGITUDE.size))
    variables = {"srr": (("receptor", "latitude", "longitude"), field, {"units": SRR_UNITS})}
    coords = {
        "latitude": ("latitude", LATITUDE, {"units": "degrees_north"}),
        "longitude": ("longitude", LONGITUDE, {"units": "degrees_east"}),
        "time": ("receptor", obs["time"].values),
        "release_lon": ("receptor", obs["longitude"].values, {"units": "degrees_east"}),
        "release_lat": ("receptor", obs["latitude"].values, {"units": "degrees_north"}),
        "release_height": ("receptor", obs["height"].values, {"units": "m"}),
    }
    if named:
        coords["site"] = ("receptor", np.char.upper(obs["site"].values.astype(str)))
    if hours is not None:
        share = rng.dirichlet(np.ones(hours + 1), n)[:, :hours]  # the rest is older than what is resolved
        resolved = field[:, None] * share[:, :, None, None]
        dims = ("receptor", "hours_back", "latitude", "longitude")
        variables["srr_time_resolved"] = (dims, resolved, {"units": SRR_UNITS})
        coords["hours_back"] = ("hours_back", np.arange(float(hours)), {"units": "h"})
    if ends:
        shape = (n, ends)
        variables["end_longitude"] = (("receptor", "particle"), rng.uniform(107, 119, shape))
        variables["end_latitude"] = (("receptor", "particle"), rng.uniform(25, 35, shape))
        variables["end_height"] = (("receptor", "particle"), rng.uniform(50, 5000, shape))
        late = np.repeat(obs["time"].values[:, None] - 20 * HOUR, ends, axis=1)
        variables["end_time"] = (("receptor", "particle"), late)
    if sides:
        share = rng.dirichlet(np.ones(4 * 3 + 1), n)[:, :12].reshape(n, 4, 3)
        variables["exit_share"] = (("receptor", "side", "exit_height"), share, {"units": "1"})
        coords["side"] = ("side", np.array(["west", "east", "south", "north"], dtype=object))
        coords["exit_height"] = ("exit_height", np.array([250.0, 2000.0, 6000.0]), {"units": "m"})
    ds = xr.Dataset(variables, coords, {"source": "made up"})
    require(ds, FOOTPRINT)
    return ds


def flux(value=2e-8, *, seed=3, time=None, end=None):
    """A flux, rough in space; one field, or one for each time."""
    rng = np.random.default_rng(seed)
    shape = (LATITUDE.size, LONGITUDE.size)
    coords = {"latitude": LATITUDE, "longitude": LONGITUDE}
    if time is None:
        values = value * rng.uniform(0.1, 2.0, shape)
        return xr.DataArray(values, dims=("latitude", "longitude"), coords=coords, attrs={"units": FLUX_UNITS})
    values = value * rng.uniform(0.1, 2.0, (len(time), *shape))
    return xr.DataArray(
        values,
        dims=("time", "latitude", "longitude"),
        coords={**coords, "time": time, "time_end": ("time", end)},
        attrs={"units": FLUX_UNITS},
    )
