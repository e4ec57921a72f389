"""`skyledger twins CONFIG.toml` and `skyledger design CONFIG.toml`: an inversion's worth before its observations."""

import re
import shlex

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

from deploy.cli import app
from deploy.errors import DeployError
from deploy.jobs import inversion as job
from inversion import solve, twins
from inversion.errors import AssemblyError
from tests.deploy.march import CANDIDATES, SECTION, N, changed, folder
from tests.inversion.pieces import HALF, HOUR, START, footprints

PLACES = {"valley": (112.3, 27.2, 40.0), "pass": (116.8, 33.1, 60.0)}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The page's configuration with its candidates, and their footprints."""
    path = folder(tmp_path_factory.mktemp("planned"))
    for seed, (name, place) in enumerate(PLACES.items()):
        where = {key: ("obs", np.full(N, value)) for key, value in zip(("longitude", "latitude", "height"), place)}  # noqa: B905
        times = START + HALF + np.arange(N) * HOUR
        receptors = xr.Dataset(coords={"time": ("obs", times), "site": ("obs", np.repeat(["x"], N)), **where})
        footprints(receptors, hours=12, seed=31 + seed).to_netcdf(path.parent / f"{name}.nc")
    path.write_text(path.read_text() + CANDIDATES)
    return path


@pytest.fixture
def own(config):
    """Give the configuration, and put back what a test changes of it."""
    text = config.read_text()
    yield config
    config.write_text(text)


def test_a_design_is_the_inversion_with_the_station_there(config):
    settings = job.read(config)
    result = job.design(settings, by="ch4 rice", pick=2)
    assert result["candidate"].values.tolist() == ["pass", "valley"]
    assembled, W = job.assemble(settings, planned=True)
    both = solve.batch(assembled.problem)
    np.testing.assert_allclose(result["chosen_stdev"].values[-1], both.stdev(W).values, rtol=1e-8)
    traces = both.fixed.traces
    np.testing.assert_allclose(result["chosen_dofs"].values[-1], traces.total - traces.boundary, rtol=1e-8)
    network, _ = twins.part(assembled, 1)
    np.testing.assert_allclose(result["stdev"].values, solve.batch(network).stdev(W).values, rtol=1e-8)
    assert (result["stdev_with"].values < result["stdev"].values).all()
    # A station that is not built is worth what those there are: it has their scatter within the hour, too.
    scatter = float(np.median(assembled.streams[0].observations["stdev"]))
    assert scatter > 0
    planned = assembled.streams[1].error.covariance(assembled.streams[1].observations).diagonal()
    np.testing.assert_allclose(planned, 1.0**2 + 5.0**2 + 8.0**2 + scatter**2, rtol=1e-9)
    assert assembled.streams[1].error.within
    # Nights are not used: the hours are those of the stations there are.
    assert {stream.observations.sizes["obs"] for stream in assembled.streams[1:]} == {N // 4}


def test_values_do_not_matter(own):
    before = job.design(job.read(own))
    for path in (own.parent / "obs").iterdir():
        with xr.open_dataset(path) as ds:
            other = ds.load()
        other["ch4"] = other["ch4"] + 25.0
        other.to_netcdf(path)
    after = job.design(job.read(own))
    np.testing.assert_allclose(before["stdev_with"], after["stdev_with"], rtol=1e-10)


@pytest.mark.parametrize("line", re.findall(r"^    skyledger ((?:design|twins) .*)$", SECTION, re.MULTILINE))
def test_the_pages_commands_run(config, line, monkeypatch):
    monkeypatch.chdir(config.parent)
    done = CliRunner().invoke(app, shlex.split(line), catch_exceptions=False)
    assert done.exit_code == 0
    if "--places" in line:
        assert len(re.findall(r"^site = \"CN-HB \d\"$", done.output, re.MULTILINE)) == 3
    elif line.startswith("design"):
        assert re.search(r"^ +1  (pass|valley)", done.output, re.MULTILINE)
        assert "ch4 rice: " in done.output
        with xr.open_dataset("design.nc") as ds:
            assert ds["stdev_with"].dims == ("candidate", "total")
            assert "configuration_sha256" in ds.attrs["provenance"]
    else:
        assert "ch4 energy" in done.output
        assert "χ² of totals" in done.output


def test_an_honest_twin_is_covered_and_another_is_not(config):
    settings = job.read(config)
    honest = job.twin_experiment(settings, draws=40, seed=3)
    assert abs(honest.attrs["whitened_chi2"] - 1) < 3 * honest.attrs["whitened_chi2_stderr"]
    assert honest["total"].values.tolist() == ["ch4 energy", "ch4 rice"]
    noisy = job.twin_experiment(settings, draws=40, seed=3, noise_factor=2.0)
    assert noisy.attrs["whitened_chi2"] > 1.5
    again = job.twin_experiment(settings, draws=40, seed=3)
    xr.testing.assert_identical(honest, again)


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        ([('footprints = "pass.nc"', 'footprints = "none.nc"')], "there is no file .*none.nc"),
        ([("error = { representation = 5.0, transport = 8.0 }\n", "")], "stated by site; give the candidate 'pass'"),
        ([('footprints = "pass.nc"', 'footprints = "footprints.nc"')], "one place: give each a file of its own"),
        ([("hours = [11, 17]\n\n[[candidate]]", "hours = [3, 3]\n\n[[candidate]]")], "'pass'.*None of its footprints"),
        ([('name = "valley"', 'name = "pass"')], "'pass' is there twice"),
        ([('name = "valley"', 'name = "valley"\ngas = "co2"')], "has the gas 'co2'; in situ is observed: ch4"),
    ],
)
def test_what_cannot_be_is_said(own, pairs, sentence):
    changed(own, *pairs)
    with pytest.raises((DeployError, AssemblyError), match=sentence):
        job.design(job.read(own))


def test_without_candidates_and_with_another_total(own):
    with pytest.raises(DeployError, match=r"'gold' is none of: dofs, ch4, ch4 energy, ch4 rice"):
        job.design(job.read(own), by="gold")
    own.write_text(own.read_text().replace(CANDIDATES, ""))
    with pytest.raises(DeployError, match=r"has no \[\[candidate\]\] tables"):
        job.design(job.read(own))
    done = CliRunner().invoke(app, ["twins", str(own), "--sigma-x", "2"])
    assert done.exit_code == 2
    assert "--sigma-x: a configuration says this itself" in " ".join(done.output.split())
