"""Problems from real files: a tower's CO2 with NAME's hourly footprints, TCCON's CH4 with NAME's column footprints."""

import numpy as np
import pytest
import xarray as xr

from deploy.jobs import inversion as job
from inversion import solve
from inversion.assemble import (
    Block,
    Curtain,
    Endpoints,
    ErrorModel,
    Sector,
    Stream,
    assemble,
    basis,
    from_columns,
    match,
)
from inversion.assemble.matching import open_footprints
from inversion.datasets import FLUX_UNITS
from inversion.transport import particles
from inversion.transport.columns import read_columns
from tests.inversion.air import uniform

CONFIG = """
name = "CO2 at Tacolneston"
start = 2014-07-01T00:00:00Z
end = 2014-07-04T00:00:00Z

[[observations]]
gas = "co2"
files = "{shared}/data/records/gcwerks_tac_100m_201407.dat"
footprints = "{shared}/data/footprints/name_tac_100m_co2_timeresolved.nc"
scale = "WMO CO2 X2007"
average = "hour"
uncertainty = 0.1
place = {{ station = "tac", inlet = "100m", inlet_height = 100, latitude = 52.518, longitude = 1.139, altitude = 50 }}
error = {{ representation = 1.0, transport = 3.0, correlation_hours = 12.0 }}

[[sector]]
name = "fossil"
gas = "co2"
uniform = 3e-7
basis = "seen"
length_km = 200.0

[[sector]]
name = "biosphere"
gas = "co2"
uniform = -5e-7
sigma = 1.0
profile = {{ hour = [0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 6, 6, 5, 4, 3, 2, 1, 0, 0, 0, 0, 0, 0] }}
clock = "solar"
periods = 1

[basis.seen]
kind = "quadtree"
regions = 9

[background.co2]
kind = "baseline"
value = "data"
sigma = 3.0
every_days = 1.0
"""


def test_a_tower_with_footprints_hour_by_hour(shared, tmp_path):
    (tmp_path / "tac.toml").write_text(CONFIG.format(shared=shared))
    outcome = job.run(job.read(tmp_path / "tac.toml"))
    problem = outcome.posterior.problem
    assert problem.n_obs == 71  # of 72 hours
    assert problem.n_state == 9 + 3
    counts = problem.provenance["observations"]["selection of co2 in situ"]
    assert counts["kept"] == 71
    # By hand: the first observation, the biosphere of its own hours, the rest of the footprint with the day's mean.
    stream = outcome.members[0].assembled.streams[0]
    hour = np.array([0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 6, 6, 5, 4, 3, 2, 1, 0, 0, 0, 0, 0, 0]) / 2.0
    resolved = np.isfinite(stream.footprints["srr_time_resolved"]).all(["hours_back", "latitude", "longitude"])
    i = int(np.flatnonzero(resolved)[9])
    ds = stream.footprints.isel(receptor=i)
    lon = np.broadcast_to(ds["longitude"].values, (12, 12))
    total = np.maximum(ds["srr"] - ds["srr_time_resolved"].sum("hours_back"), 0).values.sum() * -5e-7
    for h, back in enumerate(ds["hours_back"].values):
        moment = (ds["time"].values - np.timedelta64(int((back + 1) * 60), "m")).astype("datetime64[h]")
        local = (moment.astype(int) % 24 + 0.5 + lon / 15) % 24
        total += float((ds["srr_time_resolved"].values[h] * hour[local.astype(int)]).sum()) * -5e-7
    H = problem.H.rows(slice(i, i + 1))[0]
    assert H[9:].sum() == pytest.approx(total * 1e6, rel=1e-4)
    assert np.isfinite(outcome.posterior.mean.values).all()
    # What is odd about this file is said: every other footprint is not resolved, some hours add up to too much.
    said = "\n".join(outcome.lines())
    assert "of 71 footprints of in situ observations of co2 are not resolved in time" in said
    assert "add up to more than the footprint itself, to 1." in said


def test_columns_of_harwell(shared):
    columns = read_columns(shared / "data/columns/tccon_harwell_20230402.nc", "ch4")
    obs = from_columns(columns, site="harwell", units="nmol mol-1")
    obs = obs.assign_coords(row=("obs", np.arange(obs.sizes["obs"])))
    found = match(obs, open_footprints(shared / "data/footprints/name_thw_column.nc"), by_place=True)
    assert found.observations.sizes["obs"] == 64
    grid = found.footprints[["latitude", "longitude"]]
    time = np.datetime64("2023-04-01", "ns") + np.arange(3) * np.timedelta64(1, "D")
    latitude, longitude = np.arange(40.0, 61, 10), np.arange(-20.0, 21, 10)
    height = np.array([0.0, 12_000, 30_000, 60_000])
    shape = (3, 4, 3, 5)
    x = np.broadcast_to(np.array([1930e-9, 1850e-9, 1000e-9, 300e-9])[None, :, None, None], shape)
    dims = ("time", "level", "latitude", "longitude")
    field = xr.Dataset(
        {"mole_fraction": (dims, x), "height": (dims, np.broadcast_to(height[None, :, None, None], shape))},
        {"time": time, "latitude": latitude, "longitude": longitude},
        {"source": "made up"},
    )
    one = Stream("ch4", "column", found.observations, found.footprints, ErrorModel(5.0), columns=columns)
    flux = xr.DataArray(
        np.full((293, 391), 1e-8), dims=("latitude", "longitude"), coords=grid.coords, attrs={"units": FLUX_UNITS}
    )
    day = np.array(["2023-04-02", "2023-04-03"], "datetime64[ns]")
    whole = basis.mask(xr.DataArray(np.zeros((293, 391)), dims=("latitude", "longitude"), coords=grid.coords))
    assembled = assemble([one], [Block((Sector("all", "ch4", flux),), whole, day)], {"ch4": Endpoints(field, 10.0)})
    y = assembled.problem.y.values
    assert 1850 < y.mean() < 1950
    assert 1700 < float(assembled.problem.baseline().mean()) < 1950
    assert np.isfinite(solve.batch(assembled.problem).mean.values).all()


def test_our_own_particles_from_file_to_posterior(tmp_path):
    """Footprints of the particle model, kept on disk with hours, sides and endpoints, make a problem that is solved."""
    met = uniform(1000.0, 0.35, wind=(8.0, 1.0), half=2.0)
    grid = xr.Dataset(coords={"longitude": np.arange(-1.9, 2, 0.2), "latitude": np.arange(-1.9, 2, 0.2)})
    time = np.array([86_400, 90_000, 93_600, 97_200], "datetime64[s]").astype("datetime64[ns]")
    receptors = xr.Dataset(
        {"time": ("receptor", time), "longitude": ("receptor", np.zeros(4)), "latitude": ("receptor", np.zeros(4)),
         "height": ("receptor", np.full(4, 100.0)), "site": ("receptor", np.repeat("abc", 4))}
    )  # fmt: skip
    computed = particles.footprints(receptors, met, grid, particles=200, hours_back=8, hourly=True, endpoints=True)
    computed.to_netcdf(tmp_path / "fp.nc")
    obs = xr.Dataset(
        {name: ("obs", np.full(4, value), {"units": "nmol mol-1"})
         for name, value in (("mole_fraction", 1950.0), ("uncertainty", 1.0), ("stdev", 1.0))},
        {"time": ("obs", time), "site": ("obs", np.repeat("abc", 4)),
         **{name: ("obs", np.full(4, value)) for name, value in
            (("longitude", 0.0), ("latitude", 0.0), ("height", 100.0), ("altitude", 0.0))}},
    )  # fmt: skip
    found = match(obs, open_footprints(tmp_path / "fp.nc"))
    one = Stream("ch4", "in situ", found.observations, found.footprints, ErrorModel(5.0))
    field = np.datetime64("1970-01-01", "ns") + np.arange(0, 49, 6) * np.timedelta64(1, "h")
    high, lat, lon = np.array([0.0, 1000, 20_000]), np.array([-10.0, 0, 10]), np.array([-10.0, 0, 10])
    x = 1900e-9 + 1e-9 * np.broadcast_to(lon, (field.size, 3, 3, 3))
    dims = ("time", "level", "latitude", "longitude")
    ct = xr.Dataset(
        {"mole_fraction": (dims, x), "height": (dims, np.broadcast_to(high[None, :, None, None], x.shape))},
        {"time": field, "latitude": lat, "longitude": lon}, {"source": "made up"},
    )  # fmt: skip
    terms = Endpoints(ct, 5.0).terms([one])
    np.testing.assert_allclose(terms.H_b @ terms.b_a, 1900 + computed["end_longitude"].mean("particle"), rtol=1e-6)
    flux = xr.DataArray(
        np.full((20, 20), 5e-8), dims=("latitude", "longitude"), coords=grid.coords, attrs={"units": FLUX_UNITS}
    )
    window = np.array(["1970-01-01", "1970-01-03"], "datetime64[ns]")
    blocks = [Block((Sector("all", "ch4", flux),), basis.cells(grid), window, length_km=50.0)]
    curtain = Curtain(ct, 5.0, layers=(0.0, 1000.0, 20_000.0))
    for background in (Endpoints(ct, 5.0), curtain):
        assembled = assemble([one], blocks, {"ch4": background})
        posterior = solve.batch(assembled.problem)
        assert 0 < posterior.diagnostics.dofs_state < 4
        assert (posterior.fitted.values > assembled.problem.simulate(assembled.problem.x_a).values).all()
    # The wind is from the west: that is where the air comes in, a little below what the middle of the field holds.
    shares = curtain.terms([one])
    west = [k for k, term in enumerate(shares.term) if term.startswith("west")]
    assert shares.H_b[:, west].sum() > 0.9 * 4
    assert shares.b_a[west[0]] == pytest.approx(1898.0, abs=0.1)


COLUMNS = """
name = "CH4 columns at Harwell"
start = 2023-04-02T00:00:00Z
end = 2023-04-03T00:00:00Z

[[observations]]
gas = "ch4"
kind = "column"
files = "{shared}/data/columns/tccon_harwell_20230402.nc"
footprints = "{shared}/data/footprints/name_thw_column.nc"
error = {{ representation = 5.0, transport = 5.0, correlation_hours = 1.0 }}

[[sector]]
name = "all"
gas = "ch4"
uniform = 1e-8

[background.ch4]
kind = "field"
files = "ct.nc"
sigma = 10.0
"""


def test_columns_by_a_configuration(shared, tmp_path):
    """TCCON's operators, NAME's column footprints and a field of mole fractions, all from files."""
    time = np.datetime64("2023-04-01", "ns") + np.arange(3) * np.timedelta64(1, "D")
    latitude, longitude = np.arange(-85.0, 86, 10), np.arange(-175.0, 180, 10)
    edges = np.array([0.0, 2000, 12_000, 20_000, 40_000, 80_000])
    mole = np.array([1930.0, 1900, 1700, 1100, 400])
    shape = (3, 5, latitude.size, longitude.size)
    dims = ("time", "level", "latitude", "longitude")
    gph = np.broadcast_to(edges[None, :, None, None], (3, 6, *shape[2:]))
    xr.Dataset(
        {"ch4": (dims, np.broadcast_to(mole[None, :, None, None], shape), {"units": "nanomol mol-1"}),
         "gph": (("time", "boundary", "latitude", "longitude"), gph, {"units": "m"})},
        {"time": time, "latitude": latitude, "longitude": longitude},
    ).to_netcdf(tmp_path / "ct.nc")  # fmt: skip
    (tmp_path / "columns.toml").write_text(COLUMNS.format(shared=shared))
    outcome = job.run(job.read(tmp_path / "columns.toml"))
    problem = outcome.posterior.problem
    assert (problem.n_obs, problem.n_state, problem.n_boundary) == (64, 1, 2)
    assert problem.y_units == "nmol mol-1"
    assert set(problem.y["obs_kind"].values) == {"column"}
    assert 1700 < float(problem.baseline().mean()) < 1900
    assert "footprints: matched 64" in "\n".join(outcome.lines())
