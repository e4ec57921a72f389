"""What is written for the archives: read again it is the same, and it is what they want."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest import export, files
from ingest.errors import FileError
from qc.flags import Cause, Flag, cause_attributes, flag_attributes, from_noaa, to_icos, to_noaa, to_wdcgg
from qc.schema import OBS, require

WRITERS = {"icos": export.icos, "obspack": export.obspack, "wdcgg": export.wdcgg}
CHECKER_VARIABLE = "SKYLEDGER_TEST_COMPLIANCE_CHECKER"


def series(value, *, gas="co2", step="1h", flag=None, scale="WMO CO2 X2019", seed=1):
    """Return an OBS dataset whose other columns are drawn."""
    rng = np.random.default_rng(seed)
    value = np.asarray(value, dtype=float)
    n = value.size
    length = np.timedelta64(60 if step == "1min" else 3600, "s")
    start = np.datetime64("2026-03-01T00:00:00", "ns") + np.arange(n) * length
    flag = rng.choice([int(each) for each in Flag], n) if flag is None else np.asarray(flag)
    flag = np.where(np.isnan(value), int(Flag.MISSING), np.where(flag == int(Flag.MISSING), int(Flag.BAD), flag))
    units = {"units": "umol mol-1" if gas == "co2" else "nmol mol-1"}
    ds = xr.Dataset(
        {
            "time_bnds": (("time", "bnds"), np.stack([start, start + length], axis=1)),
            gas: ("time", value, units | {"scale": scale}),
            f"{gas}_stdev": ("time", rng.random(n) / 3, units),
            f"{gas}_n": ("time", np.where(rng.random(n) < 0.1, np.nan, rng.integers(1, 60, n)), {"units": "1"}),
            f"{gas}_uncertainty": ("time", rng.random(n) / 7, units),
            f"{gas}_u_random": ("time", rng.random(n) / 9, units),
            f"{gas}_u_shared": ("time", rng.random(n) / 9, units),
            f"{gas}_flag": ("time", flag.astype(np.int8), flag_attributes()),
            f"{gas}_cause": ("time", rng.integers(0, 512, n).astype(np.int32), cause_attributes()),
            f"{gas}_selection": ("time", rng.integers(0, 2, n).astype(np.int8), {}),
        },
        {"time": start + length // 2},
        {
            "station": "LAN",
            "title_of_station": "Lin'an",
            "inlet": "top",
            "inlet_height": 50.3,
            "latitude": 30.3000001,
            "longitude": -0.00001,
            "altitude": 139.0,
            "contributor": "Regional Background Station",
            "contact": "someone@example.org",
            "license": "CC-BY-4.0",
        },
    )
    require(ds, OBS)
    return ds


def same(found, ds, *, gas="co2"):
    """Assert that two datasets say the same of all that the formats hold."""
    np.testing.assert_array_equal(found["time"].values, ds["time"].values)
    np.testing.assert_array_equal(found["time_bnds"].values, ds["time_bnds"].values)
    for ending in (
        "",
        *(f"_{name}" for name in ("stdev", "n", "uncertainty", "u_random", "u_shared", "flag", "cause")),
    ):
        np.testing.assert_array_equal(found[f"{gas}{ending}"].values, ds[f"{gas}{ending}"].values, err_msg=ending)
    np.testing.assert_array_equal(found[f"{gas}_selection"].values, ds[f"{gas}_selection"].values)
    for name in ("scale", "units"):
        assert found[gas].attrs[name] == ds[gas].attrs[name]
    for name in ("station", "inlet", "inlet_height", "latitude", "longitude", "altitude"):
        assert found.attrs[name] == ds.attrs[name], name


@pytest.mark.parametrize("form", WRITERS)
@settings(max_examples=25, deadline=None)
@given(
    values=st.lists(st.one_of(st.floats(1e-3, 5e4), st.just(float("nan"))), min_size=1, max_size=30),
    step=st.sampled_from(["1min", "1h"]),
    scale=st.sampled_from(["WMO CO2 X2019", "our own, of 2026"]),
    seed=st.integers(0, 100),
)
def test_nothing_is_lost_on_the_way_there_and_back(tmp_path_factory, form, values, step, scale, seed):
    ds = series(values, step=step, scale=scale, seed=seed)
    path = tmp_path_factory.mktemp("export") / "a"
    WRITERS[form](ds, path)
    found = files.read(path)
    same(found, ds)
    assert found.attrs["source_format"] == form
    # And what was read is written as it was.
    again = path.with_name("b")
    WRITERS[form](found, again)
    same(files.read(again), ds)


@pytest.mark.parametrize("form", WRITERS)
@pytest.mark.parametrize(
    ("name", "unsaid", "gas"),
    [
        ("icos_nrt_gat_20180412_co2.csv", {}, "co2"),
        ("icos_l2_rgl_90m.CH4", {"scale": "WMO CH4 X2004A"}, "ch4"),
        ("obspack_co2_htm_150m.nc", {}, "co2"),
        ("noaa_brw_co2_daily.txt", {}, "co2"),
    ],
)
def test_real_files_go_through_each_format(shared, tmp_path, form, name, unsaid, gas):
    ds = files.read(shared / "data/records" / name, **unsaid)
    path = tmp_path / "a"
    WRITERS[form](ds, path)
    found = files.read(path)
    for ending in ("", "_stdev", "_n", "_uncertainty", "_flag"):
        np.testing.assert_array_equal(found[f"{gas}{ending}"].values, ds[f"{gas}{ending}"].values)
    np.testing.assert_array_equal(found["time_bnds"].values, ds["time_bnds"].values)
    assert found[gas].attrs["scale"] == ds[gas].attrs["scale"]


def test_a_wdcgg_month_and_a_gas_of_several(shared, tmp_path):
    ds = files.read(shared / "data/records/wdcgg_ams_co2_monthly.dat", scale="WMO CO2 X2002", inlet_height=65.0)
    for writer in (export.wdcgg, export.obspack):
        writer(ds, tmp_path / "a")
        found = files.read(tmp_path / "a")
        np.testing.assert_array_equal(found["time_bnds"].values, ds["time_bnds"].values)
    with pytest.raises(FileError, match="ICOS text holds intervals of one length: at 1981-02-01"):
        export.icos(ds, tmp_path / "b")
    both = xr.merge(
        [series([400.0]), series([1900.0], gas="ch4", scale="WMO CH4 X2004A")],
        compat="override",
        join="exact",
        combine_attrs="override",
    )
    with pytest.raises(FileError, match="holds one gas, the dataset has co2, ch4: give gas="):
        export.icos(both, tmp_path / "b")
    export.icos(both, tmp_path / "b", gas="ch4")
    assert files.read(tmp_path / "b")["ch4"].values.tolist() == [1900.0]
    assert not (tmp_path / ".b.part").exists()


@pytest.mark.parametrize(
    ("change", "writer", "sentence"),
    [
        (lambda ds: ds.drop_vars("co2_flag"), export.icos, "nothing is written: dataset is not OBS"),
        (lambda ds: ds.assign_attrs(station="a;b"), export.icos, "station 'a;b' cannot stand in a column"),
        (lambda ds: ds.assign_attrs(station="a b"), export.wdcgg, "station 'a b' cannot stand in a column"),
        (lambda ds: ds.assign(co2_n=ds["co2_n"] + 0.5), export.wdcgg, "a count is not a whole number"),
        (lambda ds: ds.isel(time=slice(0, 0)), export.obspack, "the dataset has no time"),
        (lambda ds: ds.assign_coords(time=ds["time"] + np.timedelta64(1, "s")), export.icos, "not in the middle"),
        (lambda ds: ds.assign_coords(time=ds["time"] + np.timedelta64(1, "us")), export.obspack, "whole millisecond"),
    ],
)
def test_what_does_not_fit_is_said_and_nothing_is_written(tmp_path, change, writer, sentence):
    ds = series([400.0, 401.0], seed=3)
    ds = change(ds.assign(co2_n=ds["co2_n"].fillna(1.0)))
    (tmp_path / "a").write_text("as it was")
    with pytest.raises(FileError, match=sentence):
        writer(ds, tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "as it was"


def test_where_nothing_can_be_written(tmp_path):
    with pytest.raises(FileError, match="cannot be written: No such file"):
        export.icos(series([400.0]), tmp_path / "no" / "a")
    with pytest.raises(FileError, match="cannot be written"):
        export.obspack(series([400.0]), tmp_path / "no" / "a")


# --- flags -----------------------------------------------------------------------------------

GOOD, NOT_EVALUATED, SUSPECT, BAD, MISSING = (int(flag) for flag in Flag)


def test_flags_map_both_ways_as_tabled():
    flag = np.array([GOOD, GOOD, NOT_EVALUATED, SUSPECT, BAD, BAD, MISSING])
    cause = np.array([0, Cause.MANUAL, 0, 0, Cause.SPIKE_SD, Cause.MANUAL, 0])
    selection = np.array([1, 0, 1, 1, 0, 1, 1])
    assert "".join(to_icos(flag, cause)) == "UONNNKN"
    assert "".join(to_icos(flag)) == "UUNNNNN"
    assert to_wdcgg(flag, selection).tolist() == [1, 2, 3, 3, 3, 3, 3]
    assert to_wdcgg(flag).tolist() == [2, 2, 3, 3, 3, 3, 3]
    letters = to_noaa(flag, selection)
    assert letters.tolist() == ["...", ".S.", "U..", "S..", "*S.", "*..", "I.."]
    back, background = from_noaa(letters)
    assert back.tolist() == flag.tolist()
    assert background.tolist() == selection.tolist()
    assert from_noaa(np.array(["N..", ".C.", "..A"]))[0].tolist() == [BAD, GOOD, GOOD]


# --- compliance ------------------------------------------------------------------------------


def test_icos_text_has_the_columns_its_readers_know(tmp_path):
    export.icos(series([400.0, np.nan], flag=[GOOD, GOOD]), tmp_path / "a")
    lines = (tmp_path / "a").read_text(encoding="utf-8").splitlines()
    count = sum(line.startswith("#") for line in lines)
    assert f"# HEADER LINES: {count}" in lines
    assert f"# TOTAL LINES: {len(lines)}" in lines
    assert lines[count - 1].startswith(
        "#Site;SamplingHeight;Year;Month;Day;Hour;Minute;DecimalDate;co2;Stdev;NbPoints;Flag;InstrumentId;QartodFlag"
    )
    assert lines[count].startswith("LAN;50.3;2026;03;01;00;00;2026.16164384;400.000;")
    assert ";-999.990;" in lines[count + 1]


def checker():
    """Return the program compliance-checker, where there is one."""
    found = os.environ.get(CHECKER_VARIABLE) or shutil.which("compliance-checker")
    return found if found and Path(found).is_file() else None


OWNER = {
    "acknowledgement": "the station's crew",
    "project": "test",
    "naming_authority": "org.example",
    "creator_url": "https://example.org",
    "publisher_name": "Publisher",
    "publisher_email": "someone@example.org",
    "publisher_url": "https://example.org",
}


@pytest.mark.parametrize(
    ("checks", "criteria", "attributes"),
    [("cf:1.11", "normal", {}), ("acdd:1.3", "normal", OWNER), ("acdd:1.3", "lenient", {})],
)
@pytest.mark.parametrize(
    ("gas", "value", "scale"), [("co2", 412.4, "WMO CO2 X2019"), ("ch4", 1950.1, "WMO CH4 X2004A")]
)
def test_netcdf_passes_the_compliance_checker(tmp_path, checks, criteria, attributes, gas, value, scale):
    """ACDD recommends some things only the owner of the data can say; without them its requirements are met."""
    program = checker()
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"compliance-checker is absent; {CHECKER_VARIABLE} says where it is", pytrace=False)
        pytest.skip(f"not run: compliance-checker; install it apart and name it in {CHECKER_VARIABLE}")
    path = tmp_path / "a.nc"
    ds = series([value, np.nan, value + 1], gas=gas, scale=scale)
    export.obspack(ds.assign_attrs(attributes), path)
    done = subprocess.run(
        [program, "--test", checks, "--criteria", criteria, str(path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
