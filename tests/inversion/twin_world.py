"""A network over eastern China for twin experiments: weather, sites, provinces, and the problem they make."""

import functools

import numpy as np
import xarray as xr

from inversion import Problem, regions, twins
from inversion.covariance import Diagonal, Kronecker, spatial, temporal
from inversion.inventory import gridding
from inversion.transport import plume

KT = {
    "CN-BJ": 170, "CN-TJ": 150, "CN-HE": 1450, "CN-SX": 2600, "CN-LN": 1050, "CN-JS": 1500, "CN-ZJ": 800,
    "CN-AH": 1500, "CN-SD": 1900, "CN-HA": 1800, "CN-HB": 1400, "CN-HN": 1700, "CN-JX": 1250, "CN-SN": 1200,
}  # fmt: skip
SITES = {
    "north": (116.9, 39.8, 80.0), "mountain": (112.6, 38.0, 60.0), "east": (117.1, 36.2, 100.0),
    "plain": (114.3, 34.8, 100.0), "delta": (119.5, 31.5, 80.0), "river": (114.4, 30.6, 100.0),
}  # fmt: skip
START, DAYS, PERIODS = np.datetime64("2026-06-01", "ns"), 12, 2
NOON = range(3, 9)
"""Hours UTC whose observations are used."""
ERROR = 6e-9
BASELINE, BASELINE_SIGMA = 1940e-9, 10e-9
LENGTH_KM = 150.0


def weather():
    """Highs and lows that pass, a boundary layer that follows the sun; hourly, two days ahead of the first receptor."""
    time = START - np.timedelta64(2, "D") + np.arange(24 * (DAYS + 2) + 1) * np.timedelta64(1, "h")
    hour = np.arange(time.size)[:, None]
    lon, lat = (np.array([site[i] for site in SITES.values()]) for i in (0, 1))
    direction = 2 * np.pi * (hour - 1.2 * (lon - 110)) / 77 + 0.8 * np.sin(hour / 41 + 0.1 * lat)
    speed = 4.5 + 1.7 * np.sin(hour / 23 + 0.2 * lon)
    sun = np.clip(np.cos(2 * np.pi * (hour + lon / 15 - 14) / 24), 0, None)
    fields = {
        "u": -speed * np.sin(direction),
        "v": -speed * np.cos(direction),
        "blh": 300 + 1200 * sun**1.5,
        "rho": np.full(sun.shape, 1.18),
        "sigma_v": 0.3 + 0.7 * sun,
        "sigma_w": 0.2 + 0.4 * sun,
    }
    return xr.Dataset({k: (("time", "site"), v) for k, v in fields.items()}, {"time": time, "site": list(SITES)})


def receptors(places=None):
    """Afternoon hours of every site."""
    places = places or SITES
    hours = START + np.concatenate([24 * d + np.array(NOON) for d in range(DAYS)]) * np.timedelta64(1, "h")
    site = np.repeat(list(places), hours.size)
    columns = {name: [places[s][i] for s in site] for i, name in enumerate(("longitude", "latitude", "height"))}
    return xr.Dataset(
        {name: ("receptor", np.asarray(v)) for name, v in columns.items()}
        | {"site": ("receptor", site), "time": ("receptor", np.tile(hours, len(places)))}
    )


@functools.cache
def fractions():
    return regions.fractions(np.arange(27.0, 42.6, 0.75), np.arange(108.75, 124.1, 0.75), codes=list(KT))


def sensitivities(meteorology, points=None):
    """H for fluxes of cells in two periods."""
    points = receptors() if points is None else points
    srr = plume.footprints(points, meteorology, fractions()[["latitude", "longitude"]])["srr"].values
    late = points["time"].values >= START + np.timedelta64(DAYS // 2, "D")
    H = np.zeros((len(srr), PERIODS, srr[0].size))
    H[np.arange(len(srr)), late.astype(int)] = srr.reshape(len(srr), -1)
    return H.reshape(len(srr), -1)


def baseline(time):
    """A straight line between knots three days apart, the same for all sites."""
    knots = np.arange(0, DAYS + 3, 3.0)
    days = (time - START) / np.timedelta64(1, "D")
    return np.stack([np.interp(days, knots, row) for row in np.eye(knots.size)], axis=1)


def prior(*, relative=0.3, length_km=LENGTH_KM):
    """Gridded ledger: x_a, B and W."""
    place = fractions()
    gridded = gridding.allocate(list(KT.values()), place, "ch4")
    flux = gridded["flux"].values.ravel()
    longitude, latitude = np.meshgrid(place["longitude"].values, place["latitude"].values)
    # Errors know no borders here: one correlation for all cells, σ a share of the flux.
    sigma = np.maximum(1.5 * relative * flux, 1e-10)
    space = spatial(longitude.ravel(), latitude.ravel(), sigma=sigma, length_km=length_km)
    time = temporal(np.array([3.0, 9.0]), length_days=30.0)
    W = regions.aggregation(place, "ch4", share=gridded["share"].values, periods=np.full(PERIODS, 1 / PERIODS))
    x_a = xr.DataArray(np.tile(flux, PERIODS), dims="state", attrs={"units": "mol m-2 s-1"})
    return x_a, Kronecker(time, space), W


def pattern():
    """Prior flux of each province in the cells of both periods (state, province)."""
    flux = gridding.allocate(list(KT.values()), fractions(), "ch4")["flux_of_region"].values
    return np.tile(flux.reshape(len(KT), -1), (1, PERIODS)).T


@functools.cache
def case():
    """Problem, W and meteorology."""
    points, met = receptors(), weather()
    x_a, B, W = prior()
    H_b = baseline(points["time"].values)
    y = xr.DataArray(
        np.full(points.sizes["receptor"], BASELINE),
        dims="obs",
        coords={"site": ("obs", points["site"].values), "time": ("obs", points["time"].values)},
        attrs={"units": "mol mol-1"},
    )
    problem = Problem(
        y=y,
        H=sensitivities(met, points),
        R=Diagonal(np.full(y.size, ERROR**2)),
        x_a=x_a,
        B=B,
        H_b=H_b,
        b_a=np.full(H_b.shape[1], BASELINE),
        B_b=Diagonal(np.full(H_b.shape[1], BASELINE_SIGMA**2)),
        b_units="mol mol-1",
        name="CH4 of a made-up network",
    )
    return problem, W, met


def wrong_weather(error=None):
    """A nature whose winds and boundary layers are not the inversion's; new ones in every draw."""
    return twins.Nature(
        name="with other winds and boundary layers",
        H=lambda rng: sensitivities(twins.perturbed(weather(), rng, error)),
    )
