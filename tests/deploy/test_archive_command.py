"""`skyledger archive`: what files hold, and the store's means written for the archives."""

import sys

import numpy as np
import pytest

from deploy.__main__ import main
from deploy.jobs import qc
from ingest import catalogue, files, read
from ingest.migrate import migrate
from tests.deploy.test_qc_job import STATION, put, samples, series
from tests.path.network import document


@pytest.fixture
def skyledger(monkeypatch, capsys):
    """Run a command line; returns exit code, what it says, what it complains of."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["skyledger", *map(str, arguments)])
        try:
            code = main()
        except SystemExit as end:
            code = end.code
        said = capsys.readouterr()
        return code, said.out.strip(), said.err.strip()

    return run


def test_files_are_shown_and_those_that_are_none_are_named(shared, tmp_path, skyledger):
    records = shared / "data/records"
    (tmp_path / "none.txt").write_text("x")
    code, said, wrong = skyledger(
        "archive",
        "show",
        records / "icos_nrt_gat_20180412_co2.csv",
        tmp_path / "none.txt",
        records / "noaa_brw_co2_daily.txt",
    )
    assert code == 1
    assert "icos, GAT 341m (53.0657, 11.4429, 70 m), 2018-04-12T00:00 to 2018-04-13T00:00 UTC" in said
    assert "  co2: 24 values, 23 valid, mean 419.231 umol mol-1; 23 good, 1 missing; WMO CO2 X2007" in said
    assert "co2: 17532 values, 15472 valid" in said
    assert wrong.startswith(f"skyledger: {tmp_path / 'none.txt'}, line 1: begins with 'x'")


@pytest.mark.parametrize("form", ["icos", "wdcgg", "obspack"])
def test_the_stores_means_are_written_and_read_again(plain_dsn, tmp_path, skyledger, form):
    migrate(plain_dsn)
    catalogue.apply(plain_dsn, document())
    put(plain_dsn, samples(range(0, 7200, 20)), seq=1)
    qc.run_once(plain_dsn, series())
    path = tmp_path / "out"
    where = ("--dsn", plain_dsn, "--gas", "co2", "--format", form, "--output", path)
    code, said, wrong = skyledger("archive", "write", STATION, "50m", *where, "--contact", "a@example.org")
    assert (code, said, wrong) == (0, f"{path}: 2 values of co2", "")
    found, stored = files.read(path), read.hourly(plain_dsn, station=STATION, inlet="50m", species="co2")
    for ending in ("", "_stdev", "_n", "_uncertainty", "_flag", "_cause"):
        np.testing.assert_array_equal(found[f"co2{ending}"].values, stored[f"co2{ending}"].values)
    assert found["co2"].attrs["scale"] == stored["co2"].attrs["scale"]
    code, said, wrong = skyledger("archive", "write", STATION, "50m", *where[:4], "--format", "csv")
    assert (code, wrong) == (1, "skyledger: format 'csv' is not written, expected one of icos, wdcgg, obspack")
