"""Columns of TCCON, GOSAT, OCO-2 and TROPOMI, and the footprints of columns."""

import numpy as np
import pytest
import xarray as xr

from inversion.datasets import SRR_UNITS
from inversion.errors import ColumnError
from inversion.transport import columns as col

FILES = {
    # file, gas: (columns, levels, sums of the columns, of the kernels, of the priors)
    ("tccon_harwell_20230402", "co2"): (64, 51, 0.02693329987, 2064.115516, 1.350840829),
    ("tccon_harwell_20230402", "ch4"): (64, 51, 0.0001208733002, 2982.897777, 0.00380057983),
    ("gosat_ch4_20170318", "ch4"): (38, 20, 6.871545813e-05, 724.9138312, 0.001211447196),
    ("oco2_openghg_20150131", "co2"): (1, 20, 0.0003992399902, 17.25020301, 0.008030312744),
    ("tropomi_offl_ch4_sample", "ch4"): (36, 12, 6.840041943e-05, 432.0000004, 0.0008143617115),
}


def read(shared, name, gas):
    return col.read_columns(shared / f"data/columns/{name}.nc", gas)


@pytest.mark.parametrize(("name", "gas"), FILES)
def test_columns_are_read(shared, name, gas):
    ds = read(shared, name, gas)
    number, levels, *sums = FILES[name, gas]
    assert dict(ds.sizes) == {"obs": number, "level": levels}
    for variable, expected in zip(("column", "averaging_kernel", "profile_prior"), sums, strict=True):
        assert float(ds[variable].astype(float).sum()) == pytest.approx(expected, rel=1e-6)
        assert ds[variable].attrs["units"] == ("1" if variable == "averaging_kernel" else "mol mol-1")
    assert (np.diff(ds["height"].values, axis=1) > 0).all()
    # A prior is near what is seen: within 6 %, where a slip of units or order is a thousandfold or a tenth.
    assert float(np.abs(col.prior_column(ds) / ds["column"] - 1).max()) < 0.06


@pytest.mark.parametrize("gas", ["co2", "ch4", "n2o"])
def test_tccons_operator_gives_its_own_prior_column(shared, gas):
    ds = read(shared, "tccon_harwell_20230402", gas)
    assert float(np.abs(col.prior_column(ds) / ds["column_prior"] - 1).max()) < 1e-4


@pytest.mark.parametrize(("name", "gas"), [("gosat_ch4_20170318", "ch4"), ("oco2_openghg_20150131", "co2")])
def test_weights_are_those_of_the_pressure_levels(shared, name, gas):
    ds = read(shared, name, gas)
    p = ds["pressure"].values
    middle = 0.5 * (p[:, 1:] + p[:, :-1])
    thickness = -np.diff(np.concatenate([p[:, :1], middle, np.zeros_like(p[:, :1])], axis=1), axis=1) / p[:, :1]
    # Gravity and humidity are in the files' weights and not here.
    # Some GOSAT soundings have another surface pressure in their weights than in their lowest level.
    off = np.abs(ds["weight"].values - thickness).max(axis=1)
    assert np.median(off) < 2e-3


def test_tropomi_says_what_rodgers_and_connor_say(shared):
    path = shared / "data/columns/tropomi_offl_ch4_sample.nc"
    ds = col.read_columns(path, "ch4", quality=1.0)
    everything = col.read_columns(path, "ch4", quality=0.0)
    assert ds.sizes["obs"] < everything.sizes["obs"]
    with (
        xr.open_dataset(path, group="PRODUCT") as product,
        xr.open_dataset(path, group="PRODUCT/SUPPORT_DATA/INPUT_DATA") as given,
        xr.open_dataset(path, group="PRODUCT/SUPPORT_DATA/DETAILED_RESULTS") as details,
    ):
        good = (product["qa_value"].values >= 1.0) & np.isfinite(product["methane_mixing_ratio_bias_corrected"].values)
        a, d = (given[n].values[good].astype(float) for n in ("methane_profile_apriori", "dry_air_subcolumns"))
        A = details["column_averaging_kernel"].values[good]
        m = 1.9e-6 * d
        by_hand = (a + A * (m - a)).sum(axis=1) / d.sum(axis=1)
    flat = xr.full_like(ds["profile_prior"], 1.9e-6).assign_attrs(units="mol mol-1")
    np.testing.assert_allclose(col.column(ds, flat), by_hand, rtol=1e-6)


def made():
    """Two columns of three levels, by hand."""
    height = [[0.0, 1000.0, 9000.0], [5.0, 2000.0, 8000.0]]
    profile = {"averaging_kernel": [[0.5, 1.0, 1.5], [1.0, 0.8, 0.6]], "weight": [[0.5, 0.3, 0.2], [0.4, 0.4, 0.2]]}
    two = {name: (("obs", "level"), np.array(values), {"units": "1"}) for name, values in profile.items()}
    return xr.Dataset(
        {
            **two,
            "height": (("obs", "level"), np.array(height), {"units": "m"}),
            "profile_prior": (("obs", "level"), np.full((2, 3), 400e-6), {"units": "mol mol-1"}),
            "column": ("obs", np.array([401e-6, 402e-6]), {"units": "mol mol-1"}),
        },
        coords={
            "time": ("obs", np.array(["2024-01-01T12", "2024-01-02T12"], "datetime64[ns]")),
            "longitude": ("obs", np.array([115.0, 116.0]), {"units": "degrees_east"}),
            "latitude": ("obs", np.array([30.0, 31.0]), {"units": "degrees_north"}),
        },
        attrs={"source": "by hand", "gas": "co2"},
    )


def levels(stack, values):
    size = stack.sizes["receptor"]
    return xr.Dataset(
        {"srr": (("receptor", "latitude", "longitude"), values, {"units": SRR_UNITS})},
        coords={
            "time": ("receptor", stack["time"].values),
            "release_lon": ("receptor", np.full(size, 115.0), {"units": "degrees_east"}),
            "release_lat": ("receptor", np.full(size, 30.0), {"units": "degrees_north"}),
            "latitude": ("latitude", [30.0, 31.0], {"units": "degrees_north"}),
            "longitude": ("longitude", [114.0, 115.0, 116.0], {"units": "degrees_east"}),
        },
        attrs={"source": "by hand"},
    )


def test_footprint_and_background_make_up_the_column():
    ds = made()
    stack = col.receptors(ds, top=3000.0)
    assert stack["height"].values.tolist() == [10.0, 1000.0, 10.0, 2000.0]
    values = np.random.default_rng(7).uniform(0, 2, (4, 2, 3))
    fp = col.footprints(ds, stack, levels(stack, values))
    flux = np.array([[1e-6, 2e-6, 0], [3e-6, 0, 1e-6]])
    background = xr.full_like(ds["profile_prior"], 395e-6).assign_attrs(units="mol mol-1")
    x = background.copy(deep=True)
    x.values[:, :2] += (values * flux).sum(axis=(1, 2)).reshape(2, 2)
    parts = col.background(ds, background).values + (fp["srr"].values * flux).sum(axis=(1, 2))
    np.testing.assert_allclose(parts, col.column(ds, x), rtol=1e-12)
    np.testing.assert_allclose(fp["srr"][0], 0.25 * values[0] + 0.3 * values[1])


def test_what_is_wrong_is_said(shared, tmp_path):
    ds = made()
    with pytest.raises(ColumnError, match="'ppm'"):
        col.column(ds, ds["profile_prior"].assign_attrs(units="ppm"))
    with pytest.raises(ColumnError, match="lowest level is at 0 m"):
        col.receptors(ds, top=-1.0)
    stack = col.receptors(ds, top=3000.0)
    with pytest.raises(ColumnError, match="There are 3 for 4"):
        col.footprints(ds, stack, levels(stack.isel(receptor=slice(3)), np.zeros((3, 2, 3))))
    ds.to_netcdf(tmp_path / "other.nc")
    with pytest.raises(ColumnError, match="no file of columns"):
        col.read_columns(tmp_path / "other.nc", "co2")
    with pytest.raises(ColumnError, match="xn2o_averaging_kernel"):
        col.read_columns(shared / "data/columns/gosat_ch4_20170318.nc", "n2o")


def test_weights_that_do_not_add_up_are_refused(shared, tmp_path):
    with xr.open_dataset(shared / "data/columns/gosat_ch4_20170318.nc") as raw:
        raw.assign(pressure_weights=(raw["pressure_weights"] * 0.9).assign_attrs(units="1")).to_netcdf(
            tmp_path / "gosat.nc"
        )
    with pytest.raises(ColumnError, match=r"miss 1 by 0\.1"):
        col.read_columns(tmp_path / "gosat.nc", "ch4")


def test_oco2_lite_drops_flagged_soundings_and_checks_the_prior(shared, tmp_path):
    with xr.open_dataset(shared / "data/columns/oco2_openghg_20150131.nc") as raw:
        names = {"lat": "latitude", "lon": "longitude", "pressure_weights": "pressure_weight"}
        lite = xr.concat([raw.load()] * 2, "time").rename(names)
    prior = (lite["pressure_weight"] * lite["co2_profile_apriori"]).sum("lev").assign_attrs(units="ppm")
    lite["xco2_quality_flag"] = ("time", np.array([0, 1], "int8"))
    lite.assign(xco2_apriori=prior).to_netcdf(tmp_path / "lite.nc")
    ds = col.read_columns(tmp_path / "lite.nc", "co2")
    assert ds.sizes["obs"] == 1
    assert "column_prior" in ds
    lite.assign(xco2_apriori=(prior * 1.01).assign_attrs(units="ppm")).to_netcdf(tmp_path / "wrong.nc")
    with pytest.raises(ColumnError, match="misses the prior column"):
        col.read_columns(tmp_path / "wrong.nc", "co2")
