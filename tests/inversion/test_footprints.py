"""Real footprint files of others, and footprints times fluxes."""

import dask.array
import numpy as np
import pytest
import xarray as xr

from inversion.datasets import FOOTPRINT, SRR_UNITS
from inversion.errors import FootprintError
from inversion.transport import read_footprints, sensitivities
from qc.schema import require

FILES = {
    # file: (form, receptors, latitudes, longitudes, sum of the file's own values, height)
    "name_tac_100m_co2_timeresolved": ("acrg", 73, 12, 12, 128.9159, None),
    "name_mhd_10m_paris": ("paris", 49, 12, 12, 0.12665558, 10.0),
    "name_thw_column": ("paris", 4, 293, 391, 10.755455, 0.0),
    "flexpart_mhd_10m": ("paris", 49, 12, 12, 0.0015869141, 10.0),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("told", [False, True])
def test_others_files_are_read(shared, name, told):
    form, receptors, latitudes, longitudes, total, height = FILES[name]
    with read_footprints(shared / f"data/footprints/{name}.nc", form if told else "auto") as fp:
        require(fp, FOOTPRINT)
        assert fp["srr"].shape == (receptors, latitudes, longitudes)
        assert fp["srr"].attrs["units"] == SRR_UNITS
        assert isinstance(fp["srr"].data, dask.array.Array)
        assert float(fp["srr"].astype(float).sum()) == pytest.approx(total, rel=1e-5)
        if height is None:
            assert "release_height" not in fp.variables  # the file does not say it, and it is not guessed
        else:
            assert (fp["release_height"] == height).all()


def test_cells_and_times_stay_with_their_values(shared):
    path = shared / "data/footprints/name_tac_100m_co2_timeresolved.nc"
    with read_footprints(path) as fp, xr.open_dataset(path) as raw:
        np.testing.assert_array_equal(fp["srr"][5].values, raw["fp"].isel(time=5).transpose("lat", "lon").values)
        np.testing.assert_allclose(fp["latitude"], raw["lat"])
        # The file stamps the start of the hour; ours is the middle, with the bounds beside it.
        np.testing.assert_array_equal(fp["time"].values, raw["time"].values + np.timedelta64(30, "m"))
        np.testing.assert_array_equal(fp["time_bnds"].values[:, 0], raw["time"].values)


def small(**changes):
    time = np.datetime64("2024-01-31T12:30", "ns") + np.arange(4) * np.timedelta64(12, "h")
    ds = xr.Dataset(
        {
            "srr": (("time", "latitude", "longitude"), np.arange(24.0).reshape(4, 2, 3), {"units": SRR_UNITS}),
            "release_lon": ("time", np.full(4, 115.0)),
            "release_lat": ("time", np.full(4, 30.0)),
        },
        coords={"time": time, "latitude": [30.0, 31.0], "longitude": [114.0, 115.0, 116.0]},
    )
    return ds.assign(changes)


@pytest.mark.parametrize(
    ("mend", "words"),
    [
        (lambda ds: ds.assign(srr=ds["srr"].assign_attrs(units="ppm")), "'ppm'"),
        (lambda ds: ds.assign(srr=ds["srr"].drop_attrs()), "None"),
        (lambda ds: ds.drop_vars("release_lon"), "release_lon"),
        (lambda ds: ds.rename(srr="other"), "no footprint"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, mend, words):
    path = tmp_path / "fp.nc"
    mend(small()).to_netcdf(path)
    with pytest.raises(FootprintError, match=words):
        read_footprints(path)


def test_other_files_and_formats_are_refused(tmp_path):
    (tmp_path / "text.nc").write_text("no netCDF")
    with pytest.raises(FootprintError, match=r"text\.nc cannot be used: It is no netCDF"):
        read_footprints(tmp_path / "text.nc")
    with pytest.raises(FootprintError, match="There is no file"):
        read_footprints(tmp_path / "none.nc")
    small().to_netcdf(tmp_path / "fp.nc")
    with pytest.raises(FootprintError, match="'acrg'"):
        read_footprints(tmp_path / "fp.nc", "still")
    with pytest.raises(FootprintError, match="missing: foot"):
        read_footprints(tmp_path / "fp.nc", "stilt")


def fluxes(**coords):
    values = np.zeros((2, 2, 3))
    values[0, 0, :] = 2e-9  # the southern row
    values[1, 1, 1] = 5e-9  # one cell
    return xr.DataArray(
        values,
        dims=("state", "latitude", "longitude"),
        coords={
            "latitude": [30.0, 31.0],
            "longitude": [114.0, 115.0, 116.0],
            "region": ("state", ["S", "N"]),
            **coords,
        },
        attrs={"units": "mol m-2 s-1"},
    )


def read_small(tmp_path):
    small().to_netcdf(tmp_path / "fp.nc")
    return read_footprints(tmp_path / "fp.nc")


def test_footprints_times_fluxes(tmp_path):
    with read_small(tmp_path) as fp:
        H = sensitivities(fp, fluxes(), units="nmol mol-1")
        assert isinstance(H.data, dask.array.Array)
        # By hand: receptor 1 has 6..8 in the south, 10 in the one cell; nmol mol-1 is 1e-9.
        np.testing.assert_allclose(H.values[1], [(6 + 7 + 8) * 2, 10 * 5])
        np.testing.assert_allclose(sensitivities(fp.load(), fluxes(), units="nmol mol-1"), H)
        assert H.dims == ("obs", "state")
        assert list(H["region"].values) == ["S", "N"]
        assert H.attrs["units"] == "nmol mol-1"


def test_a_state_of_a_month_is_seen_in_that_month_only(tmp_path):
    start = np.array(["2024-01-01", "2024-02-01"], dtype="datetime64[ns]")
    end = np.array(["2024-02-01", "2024-03-01"], dtype="datetime64[ns]")
    months = fluxes(period_start=("state", start), period_end=("state", end))
    with read_small(tmp_path) as fp:
        H = sensitivities(fp, months, units="nmol mol-1").values
    assert (H[:1, 1] == 0).all()
    assert (H[1:, 0] == 0).all()
    assert (H[1:, 1] > 0).all()


@pytest.mark.parametrize(
    ("field", "units", "words"),
    [
        (fluxes().assign_attrs(units="kg m-2 s-1"), "nmol mol-1", "kg m-2 s-1"),
        (fluxes(), "ppb", "'ppb' are no mole fraction"),
        (fluxes().assign_coords(latitude=[30.5, 31.5]), "nmol mol-1", "latitudes differ"),
        (fluxes().where(fluxes() < 4e-9).assign_attrs(units="mol m-2 s-1"), "nmol mol-1", "not finite"),
        (fluxes().rename(state="region_number"), "nmol mol-1", "lie on"),
    ],
)
def test_fluxes_that_do_not_fit_are_refused(tmp_path, field, units, words):
    with read_small(tmp_path) as fp, pytest.raises(FootprintError, match=words):
        sensitivities(fp, field, units=units)
