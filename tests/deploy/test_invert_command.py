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
from deploy.jobs.inversion.members import merged
from inversion.datasets import CONCENTRATION, FLUX, POSTERIOR
from inversion.errors import AssemblyError, CovarianceError, ProblemError
from inversion.observations import solar_hour
from qc.errors import ConfigError
from qc.schema import require
from tests.deploy.march import (
    CONFIG,
    SECTION,
    N,
    changed,
    folder,
    opened,
    write_series,
)
from tests.inversion.pieces import GRID, HOUR, LONGITUDE, SITES


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
    with pytest.raises(ConfigError, match="cannot be read"):
        job.read(tmp_path / "none.toml")
    (tmp_path / "b.toml").write_text("a = ")
    with pytest.raises(ConfigError, match="is not TOML"):
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
