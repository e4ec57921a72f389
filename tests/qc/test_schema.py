import dask.array
import numpy as np
import pytest
import xarray as xr

from qc.pipeline import run
from qc.schema import OBS, READINGS, SchemaError, describe, nanoseconds, require, valid
from tests.strategies import EPOCH_MS, dataset


@pytest.fixture
def readings():
    time = [EPOCH_MS + 1000 * i for i in range(5)]
    return dataset(time, {"co2": [400.0, np.nan, 401.0, np.nan, 402.0], "h2o_reported": [1.0] * 5}, port=["10"] * 5)


@pytest.fixture
def obs(readings, config):
    return run(readings, config)


def faults_of(ds, schema):
    with pytest.raises(SchemaError) as caught:
        require(ds, schema)
    assert all(fault in str(caught.value) for fault in caught.value.faults)
    return caught.value.faults


def test_what_is_right_passes(readings, obs):
    require(readings, READINGS)
    require(obs, OBS)


def test_all_faults_of_readings_come_at_once(readings):
    wrong = readings.drop_vars("mark").assign(
        ch4=("time", np.zeros(5), {"units": "ppb"}),
        co2_dri=("time", np.zeros(5)),
        h2o_reported=("time", np.zeros(5, int), {"units": "10-2 mol mol-1"}),
    )
    wrong.attrs.pop("station")
    wrong = wrong.isel(time=[0, 1, 1, 4, 3])
    faults = faults_of(wrong, READINGS)
    words = (
        "'station'",
        "'mark' is missing",
        "units 'ppb'",
        "did you mean 'co2_dry'",
        "expected float",
        "increase strictly",
    )
    for word in words:
        assert sum(word in fault for fault in faults) == 1, (word, faults)
    assert len(faults) == len(words)


def test_all_faults_of_obs_come_at_once(obs):
    wrong = obs.drop_vars(["co2_n", "time_bnds"]).assign(co2_flag=("time", [7]))
    wrong["co2"].attrs.pop("scale")
    wrong["co2"].attrs["standard_name"] = "air_temperature"
    wrong.attrs["latitude"] = "30 N"
    faults = faults_of(wrong, OBS)
    words = (
        "'co2_n' is missing",
        "'time_bnds' is missing",
        "holds 7",
        "scale is never guessed",
        "'air_temperature'",
        "'30 N'",
        "'flag_values'",
        "'flag_meanings'",
    )
    for word in words:
        assert sum(word in fault for fault in faults) == 1, (word, faults)
    assert len(faults) == len(words)


def test_time_must_lie_in_its_bounds(obs):
    moved = obs.assign_coords(time=obs["time"] + np.timedelta64(1, "D"))
    assert any("outside its own 'time_bnds' at 1 of 1" in fault for fault in faults_of(moved, OBS))
    moved = obs.assign_coords(time=obs["time"] - np.timedelta64(1, "D"))
    assert any("outside its own 'time_bnds' at 1 of 1" in fault for fault in faults_of(moved, OBS))
    turned = obs.assign(time_bnds=obs["time_bnds"][:, ::-1])
    assert any("do not end after their start" in fault for fault in faults_of(turned, OBS))
    cut = obs.drop_vars("time_bnds").assign(time_bnds=obs["time_bnds"][:, :1])
    assert any("1 bounds a time, expected 2" in fault for fault in faults_of(cut, OBS))


def test_a_dataset_without_gas_is_not_obs(obs):
    bare = obs[["time_bnds"]]
    assert any("there is no gas" in fault for fault in faults_of(bare, OBS))
    assert "DataArray" in faults_of(obs["co2"], OBS)[0]


def test_a_gas_unknown_to_us_may_have_any_mole_fraction_unit(obs):
    names = {name: str(name).replace("co2", "hfc23") for name in obs.data_vars}
    other = obs.rename(names).drop_vars([n for n in names.values() if n.startswith("hfc23_u_")])
    for name in other.data_vars:
        if other[name].attrs.get("units") == "umol mol-1":
            other[name].attrs["units"] = "pmol mol-1"
    require(other, OBS)
    other["hfc23_stdev"].attrs["units"] = "nmol mol-1"
    assert len(faults_of(other, OBS)) == 1


def test_lazy_values_are_not_computed(obs):
    def explode(_block):
        msg = "computed"
        raise AssertionError(msg)

    lazy = obs.copy()
    array = dask.array.map_blocks(explode, dask.array.ones(1, dtype=np.int8), dtype=np.int8, meta=np.empty(0, np.int8))
    lazy["co2_flag"] = ("time", array, obs["co2_flag"].attrs)
    require(lazy, OBS)


def test_valid_is_good_and_there(obs):
    several = xr.concat([obs.assign_coords(time=obs["time"] + np.timedelta64(h, "h")) for h in range(4)], "time")
    several["co2_flag"] = several["co2_flag"].copy(data=np.array([1, 3, 1, 4], np.int8))
    several["co2"] = several["co2"].copy(data=[400.0, 401.0, np.nan, 402.0])
    assert valid(several, "co2").values.tolist() == [True, False, False, False]
    with pytest.raises(SchemaError, match=r"no gas 'ch4'; it has co2"):
        valid(several, "ch4")


def test_obs_survives_netcdf(obs, tmp_path):
    obs.to_netcdf(tmp_path / "obs.nc", engine="netcdf4")
    with xr.open_dataset(tmp_path / "obs.nc", engine="netcdf4") as back:
        require(back, OBS)
        xr.testing.assert_equal(back.load(), obs)
        assert back["co2"].attrs["scale"] == "WMO CO2 X2019"
        assert back["co2_flag"].attrs["flag_values"].dtype == back["co2_flag"].dtype
        assert back["co2_cause"].attrs["flag_masks"].dtype == back["co2_cause"].dtype


def test_describe_names_every_variable():
    text = describe(OBS)
    assert all(variable.name in text for variable in OBS.variables)
    assert "latitude (number)" in text


def test_nanoseconds_do_not_depend_on_resolution():
    time = xr.DataArray(np.array(["2024-01-01T00:00:01"], "datetime64[s]"))
    assert nanoseconds(time).tolist() == nanoseconds(time.astype("datetime64[ns]")).tolist() == [1704067201 * 10**9]
