"""`skyledger invert CONFIG.toml`: the page's configuration on made-up files, its ensemble, and what is refused."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

from deploy.cli import app
from deploy.errors import DeployError
from deploy.jobs import inversion as job
from deploy.jobs.inversion.inputs import Inputs
from deploy.jobs.inversion.settings import merged
from ingest import catalogue, products
from ingest.database import connect
from ingest.migrate import migrate
from inversion import crosscheck, inventory, regions, report
from inversion.assemble import Sector, Stream
from inversion.assemble.sensitivity import signal
from inversion.datasets import CONCENTRATION, FLUX, POSTERIOR
from inversion.errors import AssemblyError, CovarianceError, InversionError, ProblemError
from inversion.observations import solar_hour
from inversion.regions import cell_area
from qc.schema import OBS, require
from tests.inversion.pieces import GRID, HALF, HOUR, LATITUDE, LONGITUDE, SITES, START, flux, footprints
from tests.inversion.test_observations import series

PAGE = (Path(__file__).parents[2] / "inversion/README.md").read_text("utf-8")
SECTION = PAGE[PAGE.index("# For the inversion scientist: an inversion from files") :]
(CONFIG,) = re.findall(r"```toml\n(.*?)```", SECTION, re.DOTALL)
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
    truth = _signal(path, scalings) if scalings else np.zeros(2 * N)
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


def _signal(path, scalings):
    """What the truth adds, through the settings themselves: fluxes read, footprints met hour by hour."""
    inputs = Inputs(job.read(path / "march.toml"))
    fp = opened(path / "footprints.nc")
    obs = receptors()
    obs = obs.assign(mole_fraction=("obs", np.zeros(obs.sizes["obs"]), {"units": "nmol mol-1"}))
    sectors = inputs.sectors(fp[["latitude", "longitude"]], np.timedelta64(4, "D"))
    one = Stream("ch4", "in situ", obs, fp)
    return sum(k * signal(one, sector) for k, sector in zip(scalings, sectors.values(), strict=True))


@pytest.fixture(scope="module")
def solved(tmp_path_factory):
    """The page's configuration, solved with its ensemble."""
    config = folder(tmp_path_factory.mktemp("case"))
    return config, job.run(job.read(config), ensemble=True)


def test_the_page_is_solved_and_finds_the_truth(solved):
    config, outcome = solved
    settings = outcome.settings
    assert [sector.name for sector in settings.sectors] == ["energy", "rice"]
    posterior = outcome.posterior
    assert posterior.problem.n_state == 2 * 12
    totals = outcome.members[0].totals
    assert totals["sector"].values.tolist() == ["all", "energy", "rice"]
    prior, mean, sigma = (
        a.values for a in (posterior.prior_total(totals), posterior.total(totals), posterior.stdev(totals))
    )
    # Scalings of 1.6 and 0.7 were put into the observations.
    np.testing.assert_allclose(mean[1:] / prior[1:], [1.6, 0.7], atol=4 * (sigma[1:] / prior[1:]).max())
    assert abs(mean[0] - prior[1:] @ [1.6, 0.7]) < 3.5 * sigma[0]
    assert sigma[0] < 0.6 * posterior.prior_stdev(totals).values[0]
    # Nights at the mountain, afternoons below.
    y = posterior.problem.y
    hour = solar_hour(y["time"].values, y["longitude"].values)
    night = y["station"].values == "bbb"
    assert ((hour[night] >= 22) | (hour[night] < 4)).all()
    assert ((hour[~night] >= 11) & (hour[~night] < 17)).all()
    assert config.exists()


def test_members_change_what_they_say(solved):
    _, outcome = solved
    names = [member.name for member in outcome.members]
    assert names == ["as configured", "longer lengths", "wider prior", "baseline from the data", "other footprints"]
    by_name = {member.name: member for member in outcome.members}
    base = by_name["as configured"]
    wider = by_name["wider prior"]
    assert (wider.posterior.prior_stdev().values > base.posterior.prior_stdev().values).all()
    longer = by_name["longer lengths"].posterior
    W = base.totals
    assert longer.prior_stdev(W).values[0] > base.posterior.prior_stdev(W).values[0]
    other = by_name["other footprints"].posterior.problem.H.matvec(np.ones(24))
    assert not np.allclose(other, base.posterior.problem.H.matvec(np.ones(24)))
    assert "the observations themselves" in str(by_name["baseline from the data"].posterior.findings)
    digests = {member.posterior.problem.provenance["configuration_sha256"] for member in outcome.members}
    assert len(digests) == 5
    lines = "\n".join(outcome.lines())
    assert "range of members" in lines
    energy = next(line for line in lines.splitlines() if line.startswith("  ch4 energy"))
    low, high = (float(x) for x in energy.rsplit("%", 1)[1].split(" to "))
    every = [float(m.posterior.total(m.totals).values[1]) for m in outcome.members]
    assert low == pytest.approx(min(every), rel=1e-3)
    assert high == pytest.approx(max(every), rel=1e-3)


def test_the_file_says_where_it_comes_from(solved, tmp_path):
    config, outcome = solved
    ds = opened(job.write(outcome, tmp_path / "out.nc"))
    require(ds, POSTERIOR)
    provenance = json.loads(ds.attrs["provenance"])
    assert set(provenance["inputs_sha256"]) == {
        "obs/aaa.nc",
        "obs/bbb.nc",
        "footprints.nc",
        "energy.nc",
        "rice.nc",
    }
    assert re.fullmatch("[0-9a-f]{64}", provenance["configuration_sha256"])
    assert json.loads(provenance["configuration"])["name"] == "CH4, March 2024"
    counts = provenance["observations"]["selection of ch4 in situ"]
    assert counts["kept"] == ds.attrs["n_obs"]
    assert counts["hour"] > 100
    assert sum(counts.values()) == 2 * N
    assert ds["member"].size == 5
    np.testing.assert_allclose(ds["total_posterior"], ds["total_posterior_member"][0])
    np.testing.assert_allclose(np.sqrt(np.diagonal(ds["covariance_total_posterior"])), ds["stdev_total_posterior"])
    assert ds["total_sector"].values.tolist() == ["all", "energy", "rice"]
    assert "correlation" in str(ds["finding"].values) or ds["finding"].size
    assert config.parent.is_dir()


@pytest.mark.parametrize("line", re.findall(r"^    skyledger (invert .*)$", SECTION, re.MULTILINE))
def test_the_pages_commands_run(solved, line):
    config, _ = solved
    words = line.split()
    done = subprocess.run(
        [sys.executable, "-m", "deploy", *words], capture_output=True, text=True, check=False, cwd=config.parent,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "totals, kt yr-1" in done.stdout
    assert "selection: hour" in done.stdout
    target = config.parent / (words[words.index("--output") + 1] if "--output" in words else "march.nc")
    assert f"written: {target.name}" in done.stdout
    with xr.open_dataset(target) as ds:
        assert ds.attrs["title"] == "CH4, March 2024"
    require(opened(config.parent / "paris/march_flux_ch4.nc"), FLUX)
    mole_fractions = opened(config.parent / "paris/march_concentration_ch4.nc")
    require(mole_fractions, CONCENTRATION)
    assert (np.diff(mole_fractions["time_bnds"].values, axis=1) == HOUR).all()


def changed(config, *pairs):
    text = config.read_text()
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new, 1)
    config.write_text(text)
    return config


def test_all_faults_of_a_configuration_at_once(tmp_path):
    (tmp_path / "a.toml").write_text(CONFIG)
    config = changed(
        tmp_path / "a.toml",
        ('solver = "batch"', 'solver = "bach"'),
        ("minimum = 1 ", "minimun = 1 "),
        ('kind = "quadtree"', 'kind = "quadtrees"'),
        ("sigma = 0.5 ", "sigma = -0.5 "),
        ("length_km = 300.0", 'length_km = "far"'),
        ("representation = 5.0", "representation = -1.0"),
        ("profile = { hour = [1, ", "profile = { hour = ["),
        ("covariance = { length_km = 600.0 }", "covariance = { lenght_km = 600.0 }"),
    )
    with pytest.raises(DeployError) as caught:
        job.read(config)
    text = str(caught.value)
    for part in (
        "a.toml.solver: is 'bach', expected one of batch",
        "minimun: is not known, did you mean 'minimum'?",
        "basis.seen.kind: is 'quadtrees', expected one of cells",
        "sector[0].sigma: is -0.5, expected a number of at least",
        "covariance.length_km: is 'far', expected a number",
        "error.representation: is -1.0, expected a number of at least 0",
        "profile.hour: has 23 numbers, expected 24",
        "ensemble 'longer lengths'.covariance.lenght_km: is not known, did you mean 'length_km'?",
    ):
        assert part in text, part


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        ([('basis = "seen"', 'basis = "sen"')], "the sector 'energy' has the basis 'sen', did you mean 'seen'?"),
        (
            [('sectors = ["energy", "rice"]', 'sectors = ["energy", "ice"]')],
            "names the sector 'ice', did you mean 'rice'?",
        ),
        ([("[background.ch4]", "[background.co2]")], r"ch4 is observed but has no \[background.ch4\]"),
        ([("end = 2024-03-08", "end = 2023-03-08")], "start and end are needed, start before end"),
        ([('flux = "energy.nc"', "")], "'energy' needs one of flux, a file, uniform"),
        ([('files = "obs/*.nc" ', "")], "files: is needed, or store"),
        ([("value = 1900.0 ", "")], "background.ch4.value: is missing"),
    ],
)
def test_tables_that_do_not_agree(tmp_path, pairs, sentence):
    (tmp_path / "a.toml").write_text(CONFIG)
    with pytest.raises(DeployError, match=sentence):
        job.read(changed(tmp_path / "a.toml", *pairs))


def test_no_file_no_toml_no_ensemble(tmp_path, solved):
    with pytest.raises(DeployError, match="cannot be read"):
        job.read(tmp_path / "none.toml")
    (tmp_path / "b.toml").write_text("a = ")
    with pytest.raises(DeployError, match="is not TOML"):
        job.read(tmp_path / "b.toml")
    config, _ = solved
    text = config.read_text()
    alone = config.parent / "alone.toml"
    alone.write_text(text[: text.index("[[ensemble]]")])
    with pytest.raises(DeployError, match=r"has no \[\[ensemble\]\] tables"):
        job.run(job.read(alone), ensemble=True)
    runner = CliRunner()
    said = runner.invoke(app, ["invert", str(config), "--sigma-x", "2"])
    assert said.exit_code == 2
    assert "--sigma-x" in said.output
    assert runner.invoke(app, ["invert", "case.nc", "--ensemble"]).exit_code == 2


def refused(tmp_path, error, sentence, *pairs, change=None, **options):
    config = folder(tmp_path / "case", scalings=None, **options)
    if change is not None:
        change(config.parent)
    with pytest.raises(error, match=sentence):
        job.run(job.read(changed(config, *pairs)))


def test_an_impossible_baseline_is_refused(tmp_path):
    refused(
        tmp_path,
        AssemblyError,
        "prior background of ch4 is 1.9 nmol mol-1.*looks like umol mol-1",
        ("value = 1900.0", "value = 1.9"),
    )


def test_nan_in_footprints_is_refused(tmp_path):
    def change(path):
        ds = opened(path / "footprints.nc")
        ds["srr_time_resolved"][4, 3, 2, 2] = np.nan
        ds.to_netcdf(path / "footprints.nc")

    refused(tmp_path, AssemblyError, "That of aaa at 2024-03-01T04:30 is not finite", change=change)
    (tmp_path / "b").mkdir()
    refused(
        tmp_path / "b", ProblemError, r"H is nan at obs \d+ \(.*site aaa.*region domain",
        ('basis = "seen"', 'basis = "domain"'), ('basis = "seen"', 'basis = "domain"'), change=change,
    )  # fmt: skip


def test_a_million_ppm_is_refused(tmp_path):
    def change(path):
        y = np.full(N, 1900.0)
        y[5] = 1e9
        write_series(path / "obs/aaa.nc", "aaa", SITES["aaa"], y)

    refused(tmp_path, ProblemError, r"y holds 1 values that no air has.*1e\+09 nmol mol-1", change=change)


def test_a_singular_R_is_refused(tmp_path):
    def change(path):
        for site, place in SITES.items():
            write_series(path / "obs" / f"{site}.nc", site, place, np.full(N, 1900.0), ch4_uncertainty=np.full(N, 1e-9))

    refused(
        tmp_path, CovarianceError, "R of aaa: the condition number", ("representation = 5.0", "representation = 0.0"),
        ("transport = { aaa = 8.0, bbb = 12.0 }", "transport = 1e4"),
        ("correlation_hours = 6.0", "correlation_hours = 1e14"), ("within = true", "within = false"), change=change,
    )  # fmt: skip


def test_a_region_nobody_sees_is_said(tmp_path):
    def change(path):
        ds = opened(path / "footprints.nc")
        ds[["srr", "srr_time_resolved"]] = ds[["srr", "srr_time_resolved"]].where(ds["longitude"] < 116.5, 0.0)
        ds.to_netcdf(path / "footprints.nc")
        number = xr.DataArray(np.where(LONGITUDE < 116.5, 1, 2)[None].repeat(8, 0), coords=GRID.coords, name="number")
        number.to_netcdf(path / "mask.nc")

    config = folder(tmp_path / "case", change=change)
    changed(config, ('kind = "quadtree" ', 'kind = "mask"\nfile = "mask.nc"\nvariable = "number" '))
    outcome = job.run(job.read(config))
    assert "No observation sees anything of energy in 2: 1 of 2 regions" in "\n".join(outcome.lines())


def test_correlated_sectors_must_share_their_block(tmp_path):
    refused(tmp_path, DeployError, "energy and rice are correlated, but differ", ('basis = "seen"', 'basis = "cells"'))


def test_a_member_that_fails_is_named(tmp_path):
    config = folder(tmp_path / "case")
    (config.parent / "footprints-other.nc").unlink()
    with pytest.raises(DeployError, match="the member 'other footprints' of the ensemble: there is no file"):
        job.run(job.read(config), ensemble=True)


def test_members_merge_tables_and_replace_other_kinds():
    base = {
        "background": {"ch4": {"kind": "baseline", "value": 1.0, "sigma": 2.0}},
        "observations": [{"gas": "ch4", "hours": [1, 2]}],
    }
    other = merged(base, {"background": {"ch4": {"kind": "none"}}, "observations": [{"hours": [3, 4]}]})
    assert other["background"]["ch4"] == {"kind": "none"}
    assert other["observations"] == [{"gas": "ch4", "hours": [3, 4]}]
    assert base["background"]["ch4"]["kind"] == "baseline"
    assert merged({"sector": [{"name": "a"}]}, {"sector": [{"name": "b"}]})["sector"] == [{"name": "a"}, {"name": "b"}]


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


def test_a_variational_run_goes_on_from_its_steps_and_says_what_goes_with_what(solved, tmp_path):
    prepared, exact = solved
    folder = tmp_path / "case"
    shutil.copytree(prepared.parent, folder)
    config = folder / "march.toml"
    config.write_text(CONFIG.replace('solver = "batch"', 'solver = "variational"'))
    settings = job.read(config)
    steps = tmp_path / "steps.lanczos"
    first = job.run(settings, checkpoint=steps)
    kept = steps.stat().st_size
    again = job.run(settings, checkpoint=steps, memory_gb=1.0)
    assert steps.stat().st_size == kept
    np.testing.assert_array_equal(again.posterior.mean.values, first.posterior.mean.values)
    np.testing.assert_allclose(first.posterior.mean.values, exact.posterior.mean.values, atol=1e-4)
    with pytest.raises(DeployError, match=r"--checkpoint: the solver .batch. keeps no steps"):
        job.run(job.read(prepared), checkpoint=steps)
