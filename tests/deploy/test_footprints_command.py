"""`skyledger footprints run`: killed and resumed, on processes and on Dask, and what is wrong with a configuration."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from dask import distributed

from deploy.errors import DeployError
from deploy.jobs import footprints
from inversion.datasets import FOOTPRINT
from qc.schema import require
from tests.inversion.test_meteorology import column

CONFIG = """
model = "plume"
hours = 24
meteorology = "met.nc"
output = "out.nc"
start = 2024-01-02T00:00:00Z
end = 2024-01-03T16:00:00Z
piece = 4
[grid.longitude]
first = 110.0
last = 120.0
step = 0.5
[grid.latitude]
first = 25.0
last = 35.0
step = 0.5
[[inlet]]
site = "AAA"
longitude = 115.1
latitude = 30.1
height = 50
[[inlet]]
site = "AAA"
longitude = 115.1
latitude = 30.1
height = 100
"""


def folder(path, text=CONFIG):
    path.mkdir()
    when = np.datetime64("2024-01-01", "ns") + np.arange(80) * np.timedelta64(1, "h")
    wave = np.sin(np.arange(80) / 5)
    fields = {"u": 3 + wave, "v": 1 - wave, "blh": 800 + 300 * wave, "rho": 1.2 + 0 * wave}
    fields |= {"sigma_v": 0.6 + 0 * wave, "sigma_w": 0.4 + 0 * wave}
    xr.Dataset({k: ("time", v) for k, v in fields.items()}, {"time": when}).to_netcdf(path / "met.nc")
    (path / "run.toml").write_text(text)
    return path / "run.toml"


def command(config):
    return [sys.executable, "-m", "deploy", "footprints", "run", str(config)]


def test_killed_and_resumed_gives_the_same_bytes(tmp_path):
    whole, killed = folder(tmp_path / "whole"), folder(tmp_path / "killed")
    footprints.compute(footprints.read_run(whole))
    process = subprocess.Popen(command(killed), start_new_session=True, stdout=subprocess.DEVNULL)
    pieces = killed.parent / "out.nc.pieces"
    deadline = time.monotonic() + 150
    while len(list(pieces.glob("*/*.nc"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    there = {path: path.stat().st_mtime_ns for path in pieces.glob("*/*.nc")}
    assert 2 <= len(there) < 20
    assert not (killed.parent / "out.nc").exists()
    heard = []
    footprints.compute(footprints.read_run(killed), told=lambda done, total: heard.append((done, total)))
    assert heard[0] == (4 * len(there), 80)  # what was there is not computed again
    assert heard[-1] == (80, 80)
    assert (killed.parent / "out.nc").read_bytes() == (whole.parent / "out.nc").read_bytes()
    assert not pieces.exists()


def test_the_command_writes_zarr(tmp_path):
    config = folder(tmp_path / "a", CONFIG.replace('"out.nc"', '"out.zarr"\nformat = "zarr"').replace("03T16", "02T04"))
    done = subprocess.run(command(config), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with xr.open_zarr(config.parent / "out.zarr") as ds:
        require(ds, FOOTPRINT)
        assert ds["srr"].shape == (8, 21, 21)
        assert float(ds["srr"].sum()) > 0


def test_zarr_is_the_same_however_it_was_computed(tmp_path):
    text = CONFIG.replace('"out.nc"', '"out.zarr"\nformat = "zarr"').replace("03T16", "02T06")
    one, two = folder(tmp_path / "one", text), folder(tmp_path / "two", text)
    footprints.compute(footprints.read_run(one))
    footprints.compute(footprints.read_run(two), workers=2)
    ours, theirs = ({p.name: p.read_bytes() for p in c.parent.glob("out.zarr/srr/*")} for c in (one, two))
    assert len(ours) > 2
    assert ours == theirs


def test_workers_of_dask_give_the_same(tmp_path):
    text = CONFIG.replace("03T16", "02T08")
    ours, theirs = folder(tmp_path / "ours", text), folder(tmp_path / "theirs", text)
    footprints.compute(footprints.read_run(ours), workers=2)
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster:
        footprints.compute(footprints.read_run(theirs), scheduler=cluster.scheduler_address)
    assert (ours.parent / "out.nc").read_bytes() == (theirs.parent / "out.nc").read_bytes()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("hours = 24", "huors = 24", "did you mean 'hours'"),
        ('model = "plume"', 'model = "plum"', "did you mean 'plume'"),
        ('"met.nc"', '"none.nc"', "there is no file"),
        ("end = 2024-01-03", "end = 2023-01-03", "start before end"),
        ("height = 50", "heigth = 50", "height: is missing"),
        (
            "hours = 24",
            "hours = 24\nsmoothing = 1.0",
            'smoothing: the plume knows none; it goes with model = "particles"',
        ),
        ("piece = 4", 'piece = 4\ncolumns = "none.nc"', "give one of receptors"),
    ],
)
def test_what_is_wrong_with_a_configuration_is_said(tmp_path, old, new, words):
    config = folder(tmp_path / "a", CONFIG.replace(old, new))
    with pytest.raises(DeployError, match=words):
        footprints.read_run(config)


def test_pieces_of_another_run_are_not_taken(tmp_path):
    config = folder(tmp_path / "a")
    another = config.parent / "out.nc.pieces" / "another"
    another.mkdir(parents=True)
    (another / "000000000.nc").touch()
    with pytest.raises(DeployError, match="another configuration"):
        footprints.compute(footprints.read_run(config))


def test_a_run_that_was_refused_does_not_stand_in_the_way(tmp_path):
    config = folder(tmp_path / "a", CONFIG.replace("03T16", "02T02"))
    (config.parent / "out.nc.pieces" / "another").mkdir(parents=True)
    assert footprints.compute(footprints.read_run(config)).is_file()


def test_receptors_from_a_table(tmp_path):
    text = CONFIG.partition("[[inlet]]")[0].replace("piece = 4", 'receptors = "list.csv"')
    config = folder(tmp_path / "a", text)
    (config.parent / "list.csv").write_text(
        "time,longitude,latitude,height,site\n2024-01-02T03:00:00Z,115.1,30.1,50,AAA\n"
    )
    with xr.open_dataset(footprints.compute(footprints.read_run(config))) as ds:
        assert ds["time"].values[0] == np.datetime64("2024-01-02T03")
        assert ds["release_height"].values.tolist() == [50.0]


def test_the_page_shows_a_configuration_that_works(tmp_path):
    page = (Path(__file__).parents[2] / "inversion/README.md").read_text(encoding="utf-8")
    text = page.partition("```toml\n")[2].partition("```")[0]
    config = folder(tmp_path / "a", text.replace("meteorology.nc", "met.nc"))
    run = footprints.read_run(config)
    assert (run.model, run.hours, run.piece, len(run.inlets)) == ("plume", 48.0, 64, 1)


def test_particles_through_several_files_of_era5(tmp_path):
    text = CONFIG.replace('"plume"', '"particles"\nparticles = 30\nseed = 3').replace('"met.nc"', '"era5-*.nc"')
    text = text.replace("hours = 24", "hours = 2").replace("2024-01-02T00", "2026-06-01T02")
    text = text.replace("2024-01-03T16", "2026-06-01T04").replace("30.1", "31.1").replace("115.1", "112.0")
    config = folder(tmp_path / "a", text)
    era5 = column(hours=6)
    for k in range(0, 6, 2):
        era5.isel(time=slice(k, k + 2)).to_netcdf(config.parent / f"era5-{k}.nc")
    run = footprints.read_run(config)
    with xr.open_dataset(footprints.compute(run)) as ds:
        require(ds, FOOTPRINT)
        assert ds.sizes["receptor"] == 4
        assert (ds["srr"].sum(("latitude", "longitude")) > 0).all()
        assert ds.attrs["seed"] == 3
        first = ds["srr"].values.copy()
    other = folder(tmp_path / "b", text.replace("piece = 4", "piece = 1"))
    for k in range(0, 6, 2):
        era5.isel(time=slice(k, k + 2)).to_netcdf(other.parent / f"era5-{k}.nc")
    with xr.open_dataset(footprints.compute(footprints.read_run(other))) as ds:
        np.testing.assert_array_equal(ds["srr"].values, first)
    with pytest.raises(DeployError, match=r"there is no file .*nothing-\*.nc"):
        footprints.read_run(folder(tmp_path / "c", text.replace("era5-*", "nothing-*")))
    (config.parent / "run.toml").write_text(text.replace('"particles"', '"plume"'))
    with pytest.raises(DeployError, match="3 files; the plume takes one"):
        footprints.read_run(config)


def particles_config(text=CONFIG):
    text = text.replace('"plume"', '"particles"\nparticles = 20').replace("hours = 24", "hours = 2")
    text = text.replace("2024-01-02T00", "2026-06-01T02").replace("2024-01-03T16", "2026-06-01T04")
    return text.replace("30.1", "31.1").replace("115.1", "112.0")


def test_time_back_and_ends_are_kept_where_asked_for(tmp_path):
    options = "hourly = true\nendpoints = true\nsmoothing = 1.0\nnear_field = true\npiece = 3"
    config = folder(tmp_path / "a", particles_config().replace("piece = 4", options))
    column(hours=6).to_netcdf(config.parent / "met.nc")
    with xr.open_dataset(footprints.compute(footprints.read_run(config))) as ds:
        require(ds, FOOTPRINT)
        assert ds["srr_time_resolved"].dims == ("receptor", "hours_back", "latitude", "longitude")
        assert ds["srr_time_resolved"].encoding["chunksizes"] == (1, 2, 21, 21)
        np.testing.assert_allclose(ds["srr_time_resolved"].sum("hours_back"), ds["srr"], rtol=1e-5)
        assert ds["end_height"].shape == (4, 20)
        assert (ds.attrs["near_field"], ds.attrs["smoothing"]) == (1, 1.0)


def test_columns_get_footprints_of_their_own(tmp_path):
    text = particles_config().partition("[[inlet]]")[0].replace("start = ", "#").replace("end = ", "#")
    config = folder(
        tmp_path / "a", text.replace("piece = 4", 'piece = 1\ncolumns = "lite.nc"\ngas = "co2"\ntop = 3000.0')
    )
    column(hours=6).to_netcdf(config.parent / "met.nc")
    lite(config.parent / "lite.nc")
    with xr.open_dataset(footprints.compute(footprints.read_run(config))) as ds:
        require(ds, FOOTPRINT)
        assert ds.sizes["receptor"] == 2
        assert (ds["srr"].sum(("latitude", "longitude")) > 0).all()
        assert (ds["fraction_outside"] <= 1).all()
        assert "release_height" not in ds.variables


def lite(path):
    """Two soundings as OCO-2 Lite files write them."""
    pressure = np.array([[100.0, 400, 700, 850, 950, 1000]] * 2)
    edges = np.concatenate([pressure[:, :1] * 0, 0.5 * (pressure[:, 1:] + pressure[:, :-1]), pressure[:, -1:]], axis=1)
    weight = np.diff(edges, axis=1) / pressure[:, -1:]
    levels = ("sounding_id", "levels")
    xr.Dataset(
        {
            "xco2": ("sounding_id", [420.0, 421.0], {"units": "ppm"}),
            "xco2_uncertainty": ("sounding_id", [0.5, 0.5], {"units": "ppm"}),
            "xco2_apriori": ("sounding_id", [418.0, 418.0], {"units": "ppm"}),
            "xco2_quality_flag": ("sounding_id", [0, 0]),
            "latitude": ("sounding_id", [31.0, 31.5]),
            "longitude": ("sounding_id", [112.0, 112.5]),
            "time": ("sounding_id", np.array(["2026-06-01T02:30", "2026-06-01T03:10"], "datetime64[ns]")),
            "pressure_levels": (levels, pressure, {"units": "hPa"}),
            "pressure_weight": (levels, weight),
            "xco2_averaging_kernel": (levels, np.ones((2, 6))),
            "co2_profile_apriori": (levels, np.full((2, 6), 418.0), {"units": "ppm"}),
        }
    ).to_netcdf(path)
