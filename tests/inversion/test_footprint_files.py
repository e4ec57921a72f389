"""Footprints of FLEXPART and STILT, resolved in time, and ours in the PARIS form."""

import netCDF4
import numpy as np
import pytest
import xarray as xr

from inversion.datasets import FOOTPRINT, SRR_UNITS
from inversion.errors import FootprintError
from inversion.transport import read_footprints, write_footprints
from qc.schema import require

RESOLVED = {
    # file: (sum of srr, sum of srr_time_resolved, shape of that, first and last hour back)
    "name_tac_100m_co2_timeresolved": (128.91591, 67.670113, (73, 14, 12, 12), (0, 26)),
    "flexpart11_grid_time_backward": (10.535776, 10.535776, (3, 16, 90, 120), (0, 45)),
    "stilt_foot": (2.6823272, 2.6823272, (1, 48, 90, 120), (0, 47)),
}


@pytest.mark.parametrize("name", RESOLVED)
def test_time_back_is_kept(shared, name):
    total, resolved, shape, ends = RESOLVED[name]
    with read_footprints(shared / f"data/footprints/{name}.nc") as fp:
        require(fp, FOOTPRINT)
        assert float(fp["srr"].astype(float).sum()) == pytest.approx(total, rel=1e-6)
        assert fp["srr_time_resolved"].shape == shape
        assert fp["srr_time_resolved"].attrs["units"] == SRR_UNITS
        assert float(fp["srr_time_resolved"].sum()) == pytest.approx(resolved, rel=1e-6)
        assert tuple(fp["hours_back"].values[[0, -1]]) == ends


def test_flexpart_grid_by_hand(shared):
    path = shared / "data/footprints/flexpart11_grid_time_backward.nc"
    with read_footprints(path) as fp, netCDF4.Dataset(path) as raw:
        # M_air S / d for the lowest layer, 100 m deep.
        by_hand = raw["spec001_mr"][0, 1, :, 0].astype(float) * 0.02897 / 100.0
        np.testing.assert_allclose(fp["srr"][1], by_hand.sum(axis=0), rtol=1e-12)
        np.testing.assert_allclose(fp["srr_time_resolved"][1, 5], by_hand[5], rtol=1e-12)
        assert list(fp["site"].values) == ["TOWER_020", "TOWER_200", "AIR_1200"]
        np.testing.assert_allclose(fp["release_height"], [20, 200, 1200])
        assert (fp["time"] == np.datetime64("2021-07-05T06:30")).all()
        assert (fp["time_bnds"][0].values == np.array(["2021-07-05T06", "2021-07-05T07"], "datetime64[ns]")).all()


def test_stilt_hours_count_back_from_the_receptor(shared):
    path = shared / "data/footprints/stilt_foot.nc"
    with read_footprints(path) as fp, netCDF4.Dataset(path) as raw:
        # The last hour of the file is the one before the receptor.
        np.testing.assert_array_equal(fp["srr_time_resolved"][0, 0], raw["foot"][-1])
        np.testing.assert_array_equal(fp["srr_time_resolved"][0, 47], raw["foot"][0])
        assert fp["time"].values[0] == np.datetime64("2021-07-05T06:30")
        assert (fp["release_lon"].item(), fp["release_lat"].item(), fp["release_height"].item()) == (116, 36, 200)


def test_a_stilt_file_of_r_is_told_by_its_name(shared, tmp_path):
    with xr.open_dataset(shared / "data/footprints/stilt_foot.nc") as raw:
        plain = raw.drop_vars("receptor")
        plain["foot"].attrs = {"units": "ppm (umol-1 m2 s)"}
        plain.to_netcdf(tmp_path / "202107050630_116_36_200_foot.nc")
        plain.to_netcdf(tmp_path / "foot.nc")
    with read_footprints(tmp_path / "202107050630_116_36_200_foot.nc") as fp:
        assert (fp["release_lon"].item(), fp["release_height"].item()) == (116, 200)
        assert fp["time"].values[0] == np.datetime64("2021-07-05T06:30")
    with pytest.raises(FootprintError, match="names no point receptor"):
        read_footprints(tmp_path / "foot.nc")


@pytest.mark.parametrize(
    ("mend", "words"),
    [
        (lambda ds: ds.assign_attrs(ldirect=1), "expected -1"),
        (lambda ds: ds.isel(pointspec=[0]), "ioutputforeachrelease"),
        (lambda ds: ds.assign(spec001_mr=ds["spec001_mr"].assign_attrs(units="s")), "units 's'"),
        (lambda ds: ds.assign_attrs(loutaver=-3600), "another time"),
    ],
)
def test_flexpart_runs_of_another_kind_are_refused(shared, tmp_path, mend, words):
    with xr.open_dataset(shared / "data/footprints/flexpart11_grid_time_backward.nc") as raw:
        mend(raw).to_netcdf(tmp_path / "grid.nc")
    with pytest.raises(FootprintError, match=words):
        read_footprints(tmp_path / "grid.nc")


@pytest.mark.parametrize(
    "name", ["name_tac_100m_co2_timeresolved", "name_mhd_10m_paris", "flexpart_mhd_10m", "stilt_foot"]
)
def test_what_is_written_in_the_paris_form_is_read_back(shared, tmp_path, name):
    with read_footprints(shared / f"data/footprints/{name}.nc") as fp:
        write_footprints(fp, tmp_path / "paris.nc")
        with read_footprints(tmp_path / "paris.nc") as back, netCDF4.Dataset(tmp_path / "paris.nc") as raw:
            assert raw["srr"].dimensions == ("time", "latitude", "longitude")
            for variable in ("srr", "time", "srr_time_resolved", "hours_back", "time_bnds", "release_lon", "site"):
                if variable in fp.variables:
                    xr.testing.assert_equal(back[variable].variable, fp[variable].variable)


def test_several_receptors_at_a_time_are_no_paris_file(shared, tmp_path):
    with (
        read_footprints(shared / "data/footprints/flexpart11_grid_time_backward.nc") as fp,
        pytest.raises(FootprintError, match="one file a site"),
    ):
        write_footprints(fp, tmp_path / "paris.nc")


CROSSED = {
    # file: (share by west, east, south, north, summed over all receptors)
    "name_tac_100m_co2_timeresolved": (1.8669254, 0.0161037, 0.0019588, 1.1939498),
    "name_mhd_10m_paris": (2.6522840, 0.0765949, 0.0068000, 0.1962662),
    "flexpart_mhd_10m": (1.9255669, 0.0025504, 0.0142024, 0.0065381),
    "name_thw_column": (3.0499742, 0.2442353, 0.0128279, 0.6769489),
}


@pytest.mark.parametrize("name", CROSSED)
def test_where_air_came_in_is_kept(shared, name):
    path = shared / f"data/footprints/{name}.nc"
    with read_footprints(path) as fp, netCDF4.Dataset(path) as raw:
        share = fp["exit_share"].astype(float).sum(("receptor", "exit_height"))
        np.testing.assert_allclose(share, CROSSED[name], rtol=1e-4)
        assert fp["side"].values.tolist() == ["west", "east", "south", "north"]
        assert fp["exit_height"].size == 20
        np.testing.assert_allclose(
            fp["fraction_outside"], fp["exit_share"].sum(("side", "exit_height")), rtol=1e-5, atol=1e-9
        )
        # The mean age of what came in by the west in the lowest layer, by hand.
        axis = [raw["particle_locations_w"].dimensions.index(d) for d in ("time", "height")]
        where, age = (
            np.moveaxis(raw[f"{v}_w"][:].astype(float), axis, (0, 1))[:, 0]
            for v in ("particle_locations", "mean_age_particles")
        )
        seen = where.sum(axis=1) > 0
        np.testing.assert_allclose(
            fp["exit_age"].sel(side="west")[:, 0].values[seen],
            (where * age).sum(axis=1)[seen] / where.sum(axis=1)[seen],
            rtol=1e-4,
        )


def test_short_lived_footprints_are_read_with_their_loss(shared, tmp_path):
    """OpenGHG's fourth kind: a loss applied on the way, stated with the footprint, ages at the boundary."""
    with xr.open_dataset(shared / "data/footprints/name_mhd_10m_paris.nc") as raw:
        raw["srr"].attrs["loss_lifetime_hrs"] = 12.5
        raw.to_netcdf(tmp_path / "short.nc")
    with read_footprints(tmp_path / "short.nc") as fp:
        assert fp["srr"].attrs["loss_lifetime_hrs"] == 12.5
        assert np.isfinite(fp["exit_age"]).any()
