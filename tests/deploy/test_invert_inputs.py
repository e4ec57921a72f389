"""`skyledger invert CONFIG.toml`: provinces, ledgers, the store, several gases and kinds of observation."""

import numpy as np
import pytest
import xarray as xr

from deploy.errors import DeployError
from deploy.jobs import inversion as job
from ingest import catalogue, products
from ingest.database import connect
from ingest.migrate import migrate
from inversion import crosscheck, inventory, regions, report
from inversion.assemble import Sector
from inversion.datasets import POSTERIOR
from inversion.errors import AssemblyError, InversionError
from inversion.regions import cell_area
from qc.schema import require
from tests.deploy.march import N, changed, folder, opened, receptors, write_series
from tests.inversion.pieces import GRID, HOUR, LATITUDE, LONGITUDE, SITES, START, flux, footprints


def test_provinces_and_months_and_a_field(tmp_path):
    """Totals by province, monthly periods, a field where the particles ended, fluxes uniform and fixed."""

    def change(path):
        where = receptors()
        fp = footprints(where, hours=6, ends=10)
        fp.to_netcdf(path / "footprints.nc")
        time = START + np.arange(-2, 9) * 24 * HOUR
        edges = np.array([0.0, 500, 2000, 8000])
        latitude, longitude = np.arange(15.0, 46, 5), np.arange(95.0, 131, 5)
        shape = (time.size, 3, latitude.size, longitude.size)
        xr.Dataset(
            {"ch4": (("time", "level", "latitude", "longitude"), np.full(shape, 1905.0), {"units": "nmol mol-1"}),
             "gph": (("time", "boundary", "latitude", "longitude"),
                     np.broadcast_to(edges[None, :, None, None], (time.size, 4, *shape[2:])), {"units": "m"})},
            {"time": time, "latitude": latitude, "longitude": longitude},
        ).to_netcdf(path / "ct.nc")  # fmt: skip

    config = folder(tmp_path / "case", scalings=(1.3, 1.3), change=change)
    text = config.read_text()
    text = text[: text.index("[[ensemble]]")]
    text = text.replace('kind = "baseline" ', 'kind = "field"\nfiles = "ct.nc"\n').replace("value = 1900.0 ", "")
    text = text.replace('by = "sector"', 'by = "province"').replace('name = "rice"', 'name = "rice"\nfixed = true')
    text = text[: text.index("[[covariance.correlation]]")] + text[text.index("[background.ch4]") :]
    wetlands = '[[sector]]\nname = "wetlands"\ngas = "ch4"\nuniform = 1e-9\nprior = 0.0\nperiods = 3\n\n'
    text = text.replace("[basis.seen]", f"{wetlands}[basis.seen]")
    config.write_text(text)
    outcome = job.run(job.read(config))
    problem = outcome.posterior.problem
    assert problem.b_a["term"].values[[0, -1]].tolist() == ["field", "fixed: rice"]
    assert problem.n_state == 12 + 3
    assert (problem.x_a.values[12:] == 0).all()
    regions = set(outcome.members[0].totals["region"].values)
    assert {"domain", "CN-HN", "CN-HB"} <= regions
    assert issubclass(AssemblyError, InversionError)
    assert isinstance(outcome.members[0].assembled.blocks[0].sectors[0], Sector)
    assert flux().shape == (LATITUDE.size, LONGITUDE.size)


LEDGER = """region,gas,category,period,value,unit,sigma,source,vintage
CN-HN,ch4,1,2024,1690,kt,170,made up,2025
CN-HB,ch4,1,2024,1430,kt,140,made up,2025
CN-JX,ch4,1,2024,1250,kt,120,made up,2025
CN-GZ,ch4,1,2024,NE,kt,,made up,2025
"""


def test_a_ledger_is_the_prior_and_is_compared_with(tmp_path):
    """Provinces from a table, laid over cells by a proxy; the prior's totals are the ledger's, for the cross-check."""

    def change(path):
        (path / "ledger.csv").write_text(LEDGER)
        rng = np.random.default_rng(0)
        people = xr.DataArray(rng.uniform(0.1, 5, (8, 10)), GRID.coords, ("latitude", "longitude"), name="people")
        people.to_netcdf(path / "people.nc")
        changed(
            path / "march.toml",
            ('flux = "energy.nc" ', 'ledger = { file = "ledger.csv", proxy = "people.nc", proxy_variable = "people" }'),
            ('variable = "emissions"\nsigma = 0.5 ', "sigma = 0.5 "),
            ('by = "sector"', 'by = "province"'),
        )

    config = folder(tmp_path / "case", change=change)
    outcome = job.run(job.read(config))
    first = outcome.members[0]
    W = first.totals
    inside = regions.fractions(LATITUDE, LONGITUDE)
    energy = first.assembled.blocks[0].sectors[0]
    assert energy.name == "energy"
    # The prior of a province: what of the ledger lies in the grid, and the rice in its cells.
    covered = inside["covered"].sel(country="CN-HN").item()
    rice = first.assembled.blocks[0].sectors[1].flux.values * cell_area(LATITUDE, LONGITUDE).values
    part = (inside["country_fraction"].sel(country="CN-HN").values * rice).sum() * 0.0160425 * 365.25 * 86400 / 1e6
    row = int(np.flatnonzero(W["region"].values == "CN-HN")[0])
    assert float(first.posterior.prior_total(W).values[row]) == pytest.approx(1690 * covered + part, rel=1e-6)
    A = first.assembled.aggregation("ch4", inside)
    assert A.attrs["window"] == "2024-03-01T00:00:00.000000000/2024-03-08T00:00:00.000000000"
    table = crosscheck.compare(first.posterior, inventory.read(config.parent / "ledger.csv"), A)
    assert set(table["verdict"].values) <= {"agree", "higher", "lower", "not resolved"}
    assert table.sel(region="CN-GZ")["inventory_notation"].item() == "NE"
    # The file for PARIS goes to the cross-check's own command.
    (written, _) = job.write_paris(outcome, config.parent / "march")
    assert written.name == "march_flux_ch4.nc"
    totals = report.read_totals(written)
    np.testing.assert_allclose(totals["inversion"].sel(region="CN-HN"), first.posterior.total(A).sel(region="CN-HN"))
    again = crosscheck.compare(totals, inventory.read(config.parent / "ledger.csv"))
    assert again["region"].values.tolist() == table["region"].values.tolist()


def test_hours_from_the_store(tmp_path, plain_dsn):
    """The same observations from files and from the store give the same posterior."""
    config = folder(tmp_path / "case")
    alone = config.read_text()
    config.write_text(alone[: alone.index("[[ensemble]]")])
    migrate(plain_dsn)
    places = [
        {"name": site, "title": site, "latitude": place[1], "longitude": place[0], "altitude": 100.0,
         "inlet": [{"name": f"{place[2]:g}m", "height": place[2]}]}
        for site, place in SITES.items()
    ]  # fmt: skip
    catalogue.apply(plain_dsn, {"station": places})
    for site in SITES:
        hours = opened(config.parent / "obs" / f"{site}.nc")
        hours["ch4"].attrs["standard_name"] = "mole_fraction_of_methane_in_dry_air"
        with connect(plain_dsn) as conn, conn.transaction():
            products.write(conn, products.QcRun("1.0", "abc", {}), None, hours)
    by_files = job.run(job.read(config)).posterior
    text = config.read_text().replace('files = "obs/*.nc" ', f'store = "{plain_dsn}"\n#')
    (config.parent / "store.toml").write_text(text)
    by_store = job.run(job.read(config.parent / "store.toml")).posterior
    assert by_store.problem.n_obs == by_files.problem.n_obs
    np.testing.assert_allclose(by_store.mean.values, by_files.mean.values, rtol=1e-6)


def test_gases_and_kinds_together_with_a_curtain_and_another_shape(tmp_path):
    """CO2 from towers and an aircraft beside CH4; biosphere and ocean in blocks of their own; a Matérn covariance."""

    def change(path):
        where = receptors()
        footprints(where, hours=12, sides=True).to_netcdf(path / "footprints.nc")
        n = 40
        time = START + 60 * HOUR + np.arange(n) * np.timedelta64(2, "m")
        line = {"longitude": np.linspace(109, 116, n), "latitude": np.linspace(28, 32, n), "height": np.full(n, 900.0)}
        xr.Dataset(
            {"co2": ("time", np.full(n, 421.0), {"units": "umol mol-1", "scale": "WMO CO2 X2019"}),
             "co2_uncertainty": ("time", np.full(n, 0.2)), "flight": ("time", np.repeat("f1", n)),
             **{k: ("time", v) for k, v in line.items()}}, {"time": time},
        ).to_netcdf(path / "flight.nc")  # fmt: skip
        receptor = xr.Dataset(coords={"time": ("obs", time), **{k: ("obs", v) for k, v in line.items()}})
        footprints(receptor, hours=12, named=False, sides=True).to_netcdf(path / "flight-footprints.nc")
        for site, place in SITES.items():
            write_series(path / "obs" / f"{site}-co2.nc", site, place, np.full(N, 425.0), gas="co2")

    config = folder(tmp_path / "case", change=change)
    text = config.read_text()
    text = text[: text.index("[[ensemble]]")].replace('files = "obs/*.nc"', 'files = "obs/???.nc"')
    carbon = """
[[observations]]
gas = "co2"
files = "obs/*-co2.nc"
footprints = "footprints.nc"
hours = [11, 17]
error = { representation = 1.0, transport = 2.0, correlation_hours = 6.0 }

[[observations]]
gas = "co2"
kind = "aircraft"
files = "flight.nc"
footprints = "flight-footprints.nc"
error = { transport = 3.0, correlation_hours = 0.5 }

[[sector]]
name = "fossil"
gas = "co2"
uniform = 3e-7
basis = "seen"

[[sector]]
name = "biosphere"
gas = "co2"
uniform = -2e-7
sigma = 1.0
profile = { hour = [0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 6, 5, 4, 3, 2, 1, 0, 0, 0, 0, 0, 0] }
periods = 1
length_days = 3

[[sector]]
name = "ocean"
gas = "co2"
uniform = -1e-9
length_km = 1000

[background.co2]
kind = "curtain"
value = 420.0
sigma = 2.0
layers = [0, 1000, 3000, 20000]

"""
    text = text.replace("[basis.seen]", f"{carbon}[basis.seen]")
    text = text.replace("length_days = 30.0", 'length_days = 30.0\nshape = "matern"')
    config.write_text(text)
    outcome = job.run(job.read(config))
    problem = outcome.posterior.problem
    assert set(problem.y["site"].values) == {"aaa ch4", "bbb ch4", "aaa co2", "bbb co2", "f1 co2 aircraft"}
    assert problem.n_state == 2 * 12 + 12 + 7 + 1
    assert sum(str(term).startswith("west") for term in problem.b_a["term"].values) == 3
    lines = "\n".join(outcome.lines())
    for row in ("co2 fossil", "co2 biosphere", "co2 ocean", "ch4 energy", "40 aircraft observations of co2"):
        assert row in lines
    stored = opened(job.write(outcome, tmp_path / "out.nc"))
    require(stored, POSTERIOR)
    assert stored["total_gas"].values.tolist().count("co2") == 4


def test_an_H_that_does_not_fit_is_kept_on_disk(tmp_path):
    config = folder(tmp_path / "case")
    text = config.read_text()
    text = text[: text.index("[[ensemble]]")].replace('solver = "batch"', 'solver = "batch"\nperiods = 0.5')
    config.write_text(text)
    (config.parent / "large.toml").write_text(text.replace("periods", 'sparse_gb = 0.0\nstore_H = "H.zarr"\nperiods'))
    sparse, stored = (job.run(job.read(config.parent / name)) for name in ("march.toml", "large.toml"))
    assert (config.parent / "H.zarr").is_dir()
    assert "sparse" in "".join(sparse.lines())
    assert "dask" in "".join(stored.lines())
    np.testing.assert_allclose(stored.posterior.mean.values, sparse.posterior.mean.values, rtol=1e-9)


def test_the_ledgers_own_errors(tmp_path):
    """σ of a ledger by province: kept by the prior's totals over the window, however many periods there are."""

    def change(path):
        (path / "ledger.csv").write_text(LEDGER)
        text = path.joinpath("march.toml").read_text()
        text = text[: text.index("[[covariance.correlation]]")] + text[text.index("[background.ch4]") :]
        path.joinpath("march.toml").write_text(text[: text.index("[[ensemble]]")])
        changed(
            path / "march.toml",
            ('flux = "energy.nc" ', 'ledger = { file = "ledger.csv" }\nperiods = 2'),
            ('variable = "emissions"\nsigma = 0.5 ', 'sigma = "ledger" '),
            ('basis = "seen"', 'basis = "provinces"\nlength_km = 0'),
            ('by = "sector"', 'by = "province"'),
        )

    config = folder(tmp_path / "case", scalings=None, change=change)
    text = config.read_text()
    rice = text[text.index('[[sector]]\nname = "rice"') : text.index("[basis.seen]")]
    config.write_text(text.replace(rice, ""))
    first = job.run(job.read(config)).members[0]
    W = first.totals
    row = int(np.flatnonzero(W["region"].values == "CN-HN")[0])
    prior, sigma = (float(f(W).values[row]) for f in (first.posterior.prior_total, first.posterior.prior_stdev))
    assert first.posterior.problem.n_state > 4
    covered = regions.fractions(LATITUDE, LONGITUDE)["covered"].sel(country="CN-HN").item()
    assert prior == pytest.approx(1690 * covered, rel=1e-9)
    assert sigma / prior == pytest.approx(170 / 1690, rel=1e-9)
    (written, _) = job.write_paris(job.run(job.read(config)), config.parent / "march")
    share = opened(written)["flux_total_prior_country"].sel(country="CN-HN").values / 1e6
    np.testing.assert_allclose(share, prior, rtol=1e-9)
    (config.parent / "ledger.csv").write_text(LEDGER.replace("1690,kt,170", "1690,kt,"))
    with pytest.raises(DeployError, match=r"ledger.csv states no σ for CN-HN; give the sector 'energy' a number"):
        job.run(job.read(config))
    changed(config, ('basis = "provinces"', 'basis = "seen"'))
    with pytest.raises(DeployError, match="has the σ of its ledger: give it a basis of provinces"):
        job.read(config)


def test_a_site_without_observations_in_the_window_is_no_fault(tmp_path):
    def change(path):
        obs = opened(path / "obs/aaa.nc")
        obs.attrs["station"] = "ccc"
        obs.assign_coords(time=obs["time"] - 999 * HOUR, time_bnds=obs["time_bnds"] - 999 * HOUR).to_netcdf(
            path / "obs/ccc.nc"
        )

    config = folder(tmp_path / "case")
    change(config.parent)
    outcome = job.run(job.read(config))
    assert set(outcome.posterior.problem.y["site"].values) == {"aaa", "bbb"}
