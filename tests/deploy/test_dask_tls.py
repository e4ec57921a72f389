"""A real Dask scheduler and worker over TLS: what is computed there is the same, and nobody else gets in."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr
from typer.testing import CliRunner

from deploy.cli import app
from deploy.errors import DeployError
from deploy.jobs import footprints
from deploy.jobs import inversion as job
from deploy.pki import Authority, Kind
from tests.deploy import march
from tests.deploy.test_footprints_command import CONFIG, folder

DASK = Path(sys.executable).parent / "dask"
ROOT = Path(__file__).parents[2]


def made(home, name, *, authority="computing"):
    """Return the folder of a configuration whose certificate `skyledger pki compute` wrote."""
    pki = home / authority
    for words in (["init", "Computing", "--pki", pki], ["compute", name, "--pki", pki, "--to", home / name]):
        done = CliRunner().invoke(app, ["pki", *map(str, words)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
    tls = home / name / "tls.yaml"
    tls.write_text(tls.read_text().replace("/etc/skyledger-dask", str(home / name)))
    return home / name


def environment(configuration, *, patience="30s"):
    kept = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    kept["DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT"] = patience
    return kept if configuration is None else {**kept, "DASK_CONFIG": str(configuration)}


@contextlib.contextmanager
def started(words, configuration, pattern):
    """A process until the block ends; yields what of its lines matches."""
    process = subprocess.Popen(
        [DASK, *words], env=environment(configuration), stderr=subprocess.PIPE, text=True, cwd=configuration
    )
    try:
        seen = []
        for line in process.stderr:
            seen.append(line)
            if found := re.search(pattern, line):
                break
        else:
            pytest.fail("".join(seen))
        yield found[0]
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The folder of its configuration, and the address of its scheduler."""
    home = tmp_path_factory.mktemp("dask")
    configuration = made(home, "dask")
    # As on Kubernetes (deploy/dask/cluster.yaml), but on the loopback.
    words = ["scheduler", "--protocol", "tls", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    with started(words, configuration, r"tls://127\.0\.0\.1:\d+") as address:
        work = ["worker", address, "--nthreads", "1", "--no-dashboard", "--local-directory", str(home)]
        with started(work, configuration, "Registered to"):
            yield configuration, address


def skyledger(*words, configuration=None, patience="30s"):
    settings = environment(configuration, patience=patience)
    command = [sys.executable, "-m", "deploy", *map(str, words)]
    return subprocess.run(command, env=settings, capture_output=True, text=True, check=False, timeout=240)


def test_footprints_are_the_same(cluster, tmp_path):
    configuration, address = cluster
    text = CONFIG.replace("03T16", "02T04").replace("hours = 24", "hours = 6")
    ours, theirs = folder(tmp_path / "ours", text), folder(tmp_path / "theirs", text)
    footprints.compute(footprints.read_run(ours))
    done = skyledger("footprints", "run", theirs, "--scheduler", address, configuration=configuration)
    assert done.returncode == 0, done.stderr
    assert (ours.parent / "out.nc").read_bytes() == (theirs.parent / "out.nc").read_bytes()


def test_an_inversion_is_the_same(cluster, tmp_path):
    configuration, address = cluster
    config = march.folder(tmp_path / "case")
    job.write(job.run(job.read(config)), tmp_path / "here.nc")
    words = ["invert", config, "--output", tmp_path / "there.nc", "--scheduler", address]
    done = skyledger(*words, configuration=configuration)
    assert done.returncode == 0, done.stderr
    with xr.open_dataset(tmp_path / "here.nc") as here, xr.open_dataset(tmp_path / "there.nc") as there:
        xr.testing.assert_allclose(here, there, rtol=1e-9)


@pytest.mark.parametrize("what", ["no certificate", "another authority's", "a station's", "not encrypted"])
def test_nobody_else_may_compute(cluster, tmp_path, what):
    """To compute is to run any program there: Dask's tasks are pickles."""
    configuration, address = cluster
    theirs = None
    if what == "not encrypted":
        address = address.replace("tls:", "tcp:")
    elif what != "no certificate":
        theirs = made(tmp_path, "dask")
        shutil.copy(configuration / "ca.crt", theirs / "ca.crt")
    if what == "a station's":
        stations = Authority.create(tmp_path / "pki", "stations")
        stations.issue("dask", Kind.STATION, folder=theirs, days=2)
    run = folder(tmp_path / "run", CONFIG.replace("03T16", "02T08"))
    done = skyledger("footprints", "run", run, "--scheduler", address, configuration=theirs, patience="2s")
    assert done.returncode == 1
    assert "nobody answers there" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (run.parent / "out.nc").exists()


def test_an_authority_is_for_computing_or_for_stations(tmp_path):
    authority = Authority.create(tmp_path / "a", "computing")
    authority.issue("dask", Kind.COMPUTE, folder=tmp_path / "out", days=2)
    with pytest.raises(DeployError, match=r"is an authority for computing: make another"):
        authority.issue("lin-an", Kind.STATION, folder=tmp_path / "out", days=2)
    other = Authority.create(tmp_path / "b", "stations")
    other.issue("lin-an", Kind.STATION, folder=tmp_path / "out", days=2)
    with pytest.raises(DeployError, match=r"is an authority for stations and broker: make another"):
        other.issue("dask", Kind.COMPUTE, folder=tmp_path / "out", days=2)
