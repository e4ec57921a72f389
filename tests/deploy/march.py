"""The configuration of the scientist's page, and made-up files for it."""

import re
from pathlib import Path

import numpy as np
import xarray as xr

from deploy.jobs import inversion as job
from deploy.jobs.inversion.inputs import Inputs
from inversion.assemble import Stream
from inversion.assemble.sensitivity import signal
from qc.schema import OBS, require
from tests.inversion.pieces import HALF, HOUR, SITES, START, footprints
from tests.inversion.test_observations import series

PAGE = (Path(__file__).parents[2] / "inversion/README.md").read_text("utf-8")
SECTION = PAGE[PAGE.index("# For the inversion scientist: an inversion from files") :]
CONFIG, CANDIDATES = re.findall(r"```toml\n(.*?)```", SECTION, re.DOTALL)
N = 24 * 7
KT = {"energy": 2e-8, "rice": 1e-8}


def receptors():
    """Every hour of a week at both sites, as footprints want them."""
    time = np.tile(START + HALF + np.arange(N) * HOUR, len(SITES))
    names = ("longitude", "latitude", "height")
    each = {name: ("obs", np.repeat([place[k] for place in SITES.values()], N)) for k, name in enumerate(names)}
    return xr.Dataset(coords={"time": ("obs", time), "site": ("obs", np.repeat(list(SITES), N)), **each})


def emissions(value, seed, *, units="kg m-2 s-1"):
    """A flux on a grid of its own, in masses."""
    rng = np.random.default_rng(seed)
    latitude, longitude = np.arange(20.25, 40, 0.5), np.arange(100.25, 125, 0.5)
    values = value * 0.0160425 * rng.uniform(0.2, 1.8, (latitude.size, longitude.size))
    return xr.Dataset({"emissions": (("lat", "lon"), values, {"units": units})}, {"lat": latitude, "lon": longitude})


def folder(path, *, scalings=(1.6, 0.7), baseline=1905.0, hours=12, change=None):
    """The files the page's configuration names; observations made of known scalings."""
    (path / "obs").mkdir(parents=True)
    where = receptors()
    fp = footprints(where, hours=hours)
    fp.to_netcdf(path / "footprints.nc")
    footprints(where, hours=hours, seed=22).to_netcdf(path / "footprints-other.nc")
    for number, (name, value) in enumerate(KT.items()):
        emissions(value, number).to_netcdf(path / f"{name}.nc")
    (path / "march.toml").write_text(CONFIG)
    if change is not None:
        change(path)
    truth = signal_of(path, scalings) if scalings else np.zeros(2 * N)
    rng = np.random.default_rng(4)
    for number, (site, place) in enumerate(SITES.items()):
        y = baseline + truth[number * N : (number + 1) * N] + 6 * rng.normal(size=N)
        write_series(path / "obs" / f"{site}.nc", site, place, y)
    return path / "march.toml"


def write_series(path, site, place, y, *, gas="ch4", **changes):
    units = {"ch4": "nmol mol-1", "co2": "umol mol-1"}[gas]
    about = {"n": N, "longitude": place[0], "species": gas, "units": units, gas: y, **changes}
    obs = series(site, f"{place[2]:g}m", place[2], **about)
    obs = obs.assign_coords(time=START + HALF + np.arange(N) * HOUR)
    obs.attrs["latitude"] = place[1]
    obs[gas].attrs["scale"] = {"ch4": "WMO CH4 X2004A", "co2": "WMO CO2 X2019"}[gas]
    require(obs, OBS)
    obs.to_netcdf(path)


def opened(path):
    with xr.open_dataset(path) as ds:
        return ds.load().drop_encoding()


def signal_of(path, scalings):
    """What the truth adds, through the settings themselves: fluxes read, footprints met hour by hour."""
    inputs = Inputs(job.read(path / "march.toml"))
    fp = opened(path / "footprints.nc")
    obs = receptors()
    obs = obs.assign(mole_fraction=("obs", np.zeros(obs.sizes["obs"]), {"units": "nmol mol-1"}))
    sectors = inputs.sectors(fp[["latitude", "longitude"]], np.timedelta64(4, "D"))
    one = Stream("ch4", "in situ", obs, fp)
    return sum(k * signal(one, sector) for k, sector in zip(scalings, sectors.values(), strict=True))


def changed(config, *pairs):
    text = config.read_text()
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new, 1)
    config.write_text(text)
    return config
