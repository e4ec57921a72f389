"""Fluxes and fields by others: names, units, grids; what is not known is refused."""

import netCDF4
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from inversion import priors
from inversion.errors import PriorError
from inversion.priors.field import dry_mole_fraction, standard_altitude
from inversion.priors.units import MOLAR_MASS_CARBON, flux_unit
from inversion.regions import cell_area
from qc.units import MOLAR_MASS, MOLAR_MASS_DRY_AIR

GRID = xr.Dataset(coords={"latitude": np.arange(20.5, 40, 1.5), "longitude": np.arange(101.0, 120, 1.25)})


def globe(step=2.0, *, east=0.0):
    latitude = np.arange(-90 + step / 2, 90, step)
    longitude = east + np.arange(step / 2, 360, step)
    return latitude, longitude


@pytest.mark.parametrize(
    ("units", "gas", "factor", "seconds"),
    [
        ("mol m-2 s-1", "co2", 1.0, 1.0),
        ("mol/m2/s", "ch4", 1.0, 1.0),
        ("umol m^-2 s^-1", "co2", 1e-6, 1.0),
        ("micromol m-2 s-1", "co2", 1e-6, 1.0),
        ("kg m**-2 s**-1", "ch4", 1 / MOLAR_MASS["ch4"], 1.0),
        ("kgC m-2 month-1", "co2", 1 / MOLAR_MASS_CARBON, None),
        ("kg C m-2 s-1", "co2", 1 / MOLAR_MASS_CARBON, 1.0),
        ("g C m-2 day-1", "co2", 1e-3 / MOLAR_MASS_CARBON, 86400.0),
        ("kg/m2/yr", "ch4", 1 / MOLAR_MASS["ch4"], 365.25 * 86400),
    ],
)
def test_units_of_fluxes(units, gas, factor, seconds):
    found = flux_unit(units, gas)
    assert found.factor == pytest.approx(factor, rel=1e-12)
    assert found.seconds == seconds


@pytest.mark.parametrize("units", ["ppm", "kg s-1", "mol m-3 s-1", "", "W m-2", "mol m-2 fortnight-1"])
def test_what_is_no_flux_is_not_known(units):
    assert flux_unit(units, "co2") is None


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.3, 4.0), st.floats(-179.0, 200.0), st.booleans())
def test_regridding_conserves_mass(seed, step, west, constant):
    latitude, longitude = globe(4.0, east=-180.0 if seed % 2 else 0.0)
    values = np.ones((45, 90)) if constant else np.random.default_rng(seed).normal(size=(45, 90))
    field = xr.DataArray(values, coords={"latitude": latitude, "longitude": longitude})
    there = xr.Dataset(coords={"latitude": np.arange(-40, 40, step), "longitude": west + np.arange(0, 60, step)})
    new = priors.conservative(field, there)
    if constant:
        np.testing.assert_allclose(new.values, 1.0, rtol=1e-9)
    # A fine grid under both has the same integral over every new cell.
    whole = xr.Dataset(coords={"latitude": latitude, "longitude": west + np.arange(2.0, 360, 4.0)})
    again = priors.conservative(field, whole)
    area = cell_area(latitude, whole["longitude"].values)
    expected = float((values * cell_area(latitude, longitude).values).sum())
    scale = float((np.abs(values) * area.values).sum())
    assert float((again * area).sum()) == pytest.approx(expected, abs=1e-10 * scale)


def test_a_grid_that_is_not_covered_is_refused():
    field = xr.DataArray(np.ones((10, 10)), coords={"latitude": np.arange(10.0), "longitude": np.arange(100.0, 110)})
    with pytest.raises(PriorError, match=r"covers latitude 0 to 9 only.*covers longitude 100 to 109"):
        priors.conservative(field, GRID)


def carbontracker(path, day="2020-03-01", *, units="mol m-2 s-1", missing=False):
    latitude, longitude = globe(2.0, east=-180.0)
    time = np.datetime64(day, "ns") + (np.arange(8) * 180 + 90) * np.timedelta64(1, "m")
    shape = (8, latitude.size, longitude.size)
    hours = np.arange(8)[:, None, None] * np.ones(shape)
    bio = 1e-6 * (hours - 3.5) + 1e-7
    if missing:
        bio[0, 0, 0] = np.nan
    fields = {"bio_flux_opt": bio, "ocn_flux_opt": -1e-8 * np.ones(shape), "fossil_flux_imp": 2e-7 * np.ones(shape),
              "fire_flux_imp": 1e-9 * np.ones(shape)}  # fmt: skip
    xr.Dataset(
        {k: (("time", "latitude", "longitude"), v.astype("f4"), {"units": units}) for k, v in fields.items()}
        | {"time_components": (("time", "calendar_components"), np.ones((8, 6), "i4"))},
        {"time": time, "latitude": latitude, "longitude": longitude},
    ).to_netcdf(path)
    return path


def test_carbontracker_has_parts_of_the_carbon_cycle_every_three_hours(tmp_path):
    for day in ("2020-03-01", "2020-03-02"):
        carbontracker(tmp_path / f"CT2022.flux1x1.{day.replace('-', '')}.nc", day)
    bio = priors.read_flux(tmp_path / "CT2022.flux1x1.*.nc", "co2", GRID, variable="biosphere")
    assert bio.sizes == {"time": 16, "latitude": 13, "longitude": 16}
    assert bio["time"].values[0] == np.datetime64("2020-03-01T00:00")
    assert bio["time_end"].values[-1] == np.datetime64("2020-03-03T00:00")
    np.testing.assert_allclose(bio.values[9], 1e-6 * (1 - 3.5) + 1e-7, rtol=1e-6)
    ocean = priors.read_flux(tmp_path / "CT2022.flux1x1.20200301.nc", "co2", GRID, variable="ocean")
    np.testing.assert_allclose(ocean.values, -1e-8, rtol=1e-6)
    second = np.datetime64("2020-03-02", "ns")
    assert priors.read_flux(tmp_path / "*.nc", "co2", GRID, variable="fire", start=second).sizes["time"] == 8


@pytest.mark.parametrize(
    ("changes", "options", "sentence"),
    [
        ({"units": "ppm"}, {"variable": "biosphere"}, "has the units 'ppm', expected a flux"),
        ({"missing": True}, {"variable": "biosphere"}, "1 missing values"),
        ({}, {"variable": "wetlands"}, "no variable wetlands; it has bio_flux_opt"),
        ({}, {"variable": "fire", "start": "2021-01-01"}, "nothing between 2021-01-01"),
    ],
)
def test_refused(tmp_path, changes, options, sentence):
    with pytest.raises(PriorError, match=sentence):
        priors.read_flux(carbontracker(tmp_path / "a.nc", **changes), "co2", GRID, **options)


def test_no_file_and_no_netcdf(tmp_path):
    with pytest.raises(PriorError, match="There is no file"):
        priors.read_flux(tmp_path / "none.nc", "co2", GRID)
    (tmp_path / "text.nc").write_text("no netCDF")
    with pytest.raises(PriorError, match=r"text\.nc cannot be used: It is no netCDF file"):
        priors.read_flux(tmp_path / "text.nc", "co2", GRID)


def test_months_of_carbon_are_as_long_as_they_are(tmp_path):
    latitude, longitude = globe(3.0)
    shape = (2, latitude.size, longitude.size)
    xr.Dataset(
        {"flux_apos_bio": (("time", "latitude", "longitude"), np.ones(shape), {"units": "kgC m-2 month-1"})},
        {"time": np.array(["2020-02-01", "2020-03-01"], "M8[ns]"), "latitude": latitude, "longitude": longitude},
    ).to_netcdf(tmp_path / "cams73.nc")
    flux = priors.read_flux(tmp_path / "cams73.nc", "co2", GRID, variable="biosphere")
    np.testing.assert_allclose(flux.values[0], 1 / MOLAR_MASS_CARBON / (29 * 86400), rtol=1e-9)
    np.testing.assert_allclose(flux.values[1], 1 / MOLAR_MASS_CARBON / (31 * 86400), rtol=1e-9)
    assert flux["time_end"].values[0] == np.datetime64("2020-03-01")


def test_a_downward_flux_is_turned_round_and_carbon_known_by_its_name(tmp_path):
    latitude, longitude = globe(3.0)
    name = "surface_downward_mass_flux_of_carbon_dioxide_expressed_as_carbon"
    attrs = {"units": "kg m-2 s-1", "standard_name": name}
    xr.Dataset(
        {"fgco2": (("lat", "lon"), np.full((60, 120), 3.0), attrs)}, {"lat": latitude, "lon": longitude}
    ).to_netcdf(tmp_path / "ocean.nc")
    flux = priors.read_flux(tmp_path / "ocean.nc", "co2", GRID, variable="fgco2")
    np.testing.assert_allclose(flux.values, -3.0 / MOLAR_MASS_CARBON, rtol=1e-9)
    assert np.isnat(flux["time"].values).all()


def test_fires_by_dry_matter_and_factors(tmp_path):
    latitude, longitude = globe(5.0, east=-180.0)
    latitude = latitude[::-1]  # GFED counts from the north
    with netCDF4.Dataset(tmp_path / "GFED4.1s_2019.hdf5", "w") as file:
        file.createDimension("y", latitude.size)
        file.createDimension("x", longitude.size)
        for name, values in (("lat", np.tile(latitude[:, None], longitude.size)),
                             ("lon", np.tile(longitude, (latitude.size, 1)))):  # fmt: skip
            file.createVariable(name, "f4", ("y", "x"))[:] = values
        for month in range(1, 13):
            group = file.createGroup(f"emissions/{month:02d}")
            group.createVariable("DM", "f4", ("y", "x"))[:] = 0.1 * month
            shares = group.createGroup("partitioning")
            for source, share in (("SAVA", 0.75), ("AGRI", 0.25), ("BORF", 0), ("TEMF", 0), ("DEFO", 0), ("PEAT", 0)):
                shares.createVariable(f"DM_{source}", "f4", ("y", "x"))[:] = share
    (tmp_path / "factors.txt").write_text(
        "# a comment\nCO2 1686 1489 1647 1643 1703 1585\nCH4 1.94 5.96 3.36 5.07 20.8 5.82\n"
    )
    flux = priors.read_gfed(tmp_path / "GFED4.1s_2019.hdf5", tmp_path / "factors.txt", "ch4", GRID, year=2019)
    grams = 0.2 * (0.75 * 1.94 + 0.25 * 5.82)
    np.testing.assert_allclose(flux.values[1], grams * 1e-3 / MOLAR_MASS["ch4"] / (28 * 86400), rtol=1e-6)
    with pytest.raises(PriorError, match="no emission factors of 'n2o'; it has CO2, CH4"):
        priors.read_gfed(tmp_path / "GFED4.1s_2019.hdf5", tmp_path / "factors.txt", "n2o", GRID, year=2019)


def linear(lon, lat, height, day):
    return 400e-6 + 1e-8 * lon + 2e-8 * lat - 1e-9 * height + 1e-7 * day


def levels(shape_of_time=3):
    latitude, longitude = globe(5.0)
    time = np.datetime64("2020-03-01", "ns") + np.arange(shape_of_time) * np.timedelta64(1, "D")
    return time, latitude, longitude


def carbontracker_field(path, *, ground=250.0, units="micromol mol-1"):
    time, latitude, longitude = levels()
    edges = np.array([0.0, 100, 300, 800, 2000, 5000, 12000])
    middle = 0.5 * (edges[1:] + edges[:-1])
    x = linear(longitude, latitude[:, None], middle[:, None, None], np.arange(3)[:, None, None, None]) * 1e6
    gph = np.broadcast_to((ground + edges)[None, :, None, None], (3, 7, latitude.size, longitude.size))
    xr.Dataset(
        {
            "co2": (("time", "level", "latitude", "longitude"), x, {"units": units}),
            "gph": (("time", "boundary", "latitude", "longitude"), gph, {"units": "m"}),
        },
        {"time": time, "latitude": latitude, "longitude": longitude},
    ).to_netcdf(path)
    return path


def points(n=200):
    rng = np.random.default_rng(5)
    lon, lat = rng.uniform(100, 130, n), rng.uniform(20, 50, n)
    height, day = rng.uniform(60, 8000, n), rng.uniform(0, 2, n)
    return lon, lat, height, day


def test_a_field_that_is_linear_is_sampled_exactly(tmp_path):
    field = priors.read_field(carbontracker_field(tmp_path / "CT2022.molefrac.nc"), "co2")
    assert field.attrs["form"] == "carbontracker"
    lon, lat, height, day = points()
    when = np.datetime64("2020-03-01", "ns") + (day * 86400e9).astype("timedelta64[ns]")
    np.testing.assert_allclose(
        priors.sample(field, lon, lat, height, when), linear(lon, lat, height, day), rtol=0, atol=2e-13
    )
    part = priors.read_field(tmp_path / "CT2022.molefrac.nc", "co2", box=(100, 20, 130, 50))
    assert part.sizes["longitude"] < field.sizes["longitude"] / 5
    np.testing.assert_array_equal(
        priors.sample(part, lon, lat, height, when), priors.sample(field, lon, lat, height, when)
    )
    # The same place a turn away, and below the lowest level.
    west = priors.sample(field, lon - 360, lat, 0 * height, when)
    np.testing.assert_allclose(west, linear(lon, lat, 50.0, day), rtol=0, atol=2e-13)


def test_across_the_seam_of_a_field(tmp_path):
    field = priors.read_field(carbontracker_field(tmp_path / "ct.nc"), "co2")
    when = np.full(1, np.datetime64("2020-03-01", "ns"))
    middle = priors.sample(field, [0.0], [22.5], [200.0], when)
    ends = [linear(lon, 22.5, 200.0, 0) for lon in (2.5, 357.5)]
    np.testing.assert_allclose(middle, np.mean(ends), rtol=1e-9)


def test_points_outside_are_refused(tmp_path):
    field = priors.read_field(carbontracker_field(tmp_path / "ct.nc"), "co2", box=(100, 20, 130, 50))
    late = np.full(2, np.datetime64("2020-05-01", "ns"))
    with pytest.raises(
        PriorError, match=r"2 of 2 points lie outside of its times.*1 of 2 points lie outside of its grid"
    ):
        priors.sample(field, [110.0, 10.0], [30.0, 30.0], [10.0, 10.0], late)
    with pytest.raises(PriorError, match="has the units 'foo'"):
        priors.read_field(carbontracker_field(tmp_path / "b.nc", units="foo"), "co2")
    with pytest.raises(PriorError, match="no field of ch4 on levels"):
        priors.read_field(tmp_path / "ct.nc", "ch4")


def test_cams_inversions_by_pressure_and_by_altitude(tmp_path):
    time, latitude, longitude = levels()
    shape = (3, 4, latitude.size, longitude.size)
    pressure = np.array([101325.0, 90000, 70000, 40000, 10000])
    bp = pressure / 101325.0
    surface = np.full((3, latitude.size, longitude.size), 101325.0)
    dims = ("time", "level", "latitude", "longitude")
    x = np.broadcast_to(np.array([4.1e-4, 4.05e-4, 4e-4, 3.9e-4])[None, :, None, None], shape)
    axes = {"time": time, "latitude": latitude, "longitude": longitude}
    xr.Dataset(
        {"CO2": (dims, x * 1e6, {"units": "ppm"}), "ap": ("hlevel", 0 * bp), "bp": ("hlevel", bp),
         "Psurf": (("time", "latitude", "longitude"), surface, {"units": "Pa"})}, axes,
    ).to_netcdf(tmp_path / "cams73_co2.nc")  # fmt: skip
    field = priors.read_field(tmp_path / "cams73_co2.nc", "co2")
    assert field.attrs["form"] == "cams_hybrid"
    np.testing.assert_allclose(
        field["height"][0, :, 0, 0], standard_altitude(0.5 * (pressure[1:] + pressure[:-1])), atol=1e-6
    )
    np.testing.assert_allclose(field["mole_fraction"][0, :, 0, 0], x[0, :, 0, 0])
    altitude = np.broadcast_to(np.array([100.0, 300, 1100, 3100, 9100])[None, :, None, None], (3, 5, *shape[2:]))
    xr.Dataset(
        {"CH4": (dims, 1e9 * x, {"units": "ppb"}),
         "altitude": (("time", "hlevel", "latitude", "longitude"), altitude, {"units": "m"})}, axes,
    ).to_netcdf(tmp_path / "cams73_ch4.nc")  # fmt: skip
    field = priors.read_field(tmp_path / "cams73_ch4.nc", "ch4")
    assert field.attrs["form"] == "cams_altitude"
    np.testing.assert_allclose(field["height"][0, :, 0, 0], [100, 600, 2000, 6000])


def test_a_mass_ratio_in_moist_air_needs_the_humidity(tmp_path):
    time, latitude, longitude = levels()
    shape = (3, 3, latitude.size, longitude.size)
    dims = ("time", "pressure_level", "latitude", "longitude")
    axes = {
        "time": time, "latitude": latitude, "longitude": longitude,
        "pressure_level": ("pressure_level", [500.0, 850.0, 1000.0], {"units": "hPa"}),
    }  # fmt: skip
    dry = 410e-6
    q = np.full(shape, 0.02)
    mass = dry * (1 - q) * MOLAR_MASS["co2"] / MOLAR_MASS_DRY_AIR
    surface = np.full((3, *shape[2:]), 101325.0)
    ds = xr.Dataset(
        {"co2": (dims, mass, {"units": "kg kg**-1"}), "q": (dims, q, {"units": "kg kg**-1"}),
         "sp": (("time", "latitude", "longitude"), surface, {"units": "Pa"})}, axes,
    )  # fmt: skip
    ds.to_netcdf(tmp_path / "egg4.nc")
    field = priors.read_field(tmp_path / "egg4.nc", "co2")
    np.testing.assert_allclose(field["mole_fraction"], dry, rtol=1e-12)
    assert (np.diff(field["height"].values, axis=1) > 0).all()
    assert float(field["height"][0, -1, 0, 0]) == pytest.approx(5574, abs=1)
    with pytest.raises(PriorError, match="add the specific humidity 'q'"):
        dry_mole_fraction(ds["co2"].rename(pressure_level="level"), "co2", None)


def test_one_time_without_bounds_stands_for_always_and_several_files_for_their_months(tmp_path):
    latitude, longitude = globe(5.0)
    for month in (1, 2, 4):
        xr.Dataset(
            {"flux": (("time", "lat", "lon"), np.full((1, 36, 72), float(month)), {"units": "mol/m2/s"})},
            {"time": [np.datetime64(f"2019-{month:02d}-01", "ns")], "lat": latitude, "lon": longitude},
        ).to_netcdf(tmp_path / f"flux_{month:02d}.nc")
    alone = priors.read_flux(tmp_path / "flux_01.nc", "ch4", GRID)
    assert np.isnat(alone["time"].values).all()
    months = priors.read_flux(tmp_path / "flux_*.nc", "ch4", GRID)
    assert months["time"].values[[0, -1]].astype("datetime64[M]").astype(str).tolist() == ["2019-01", "2019-04"]
    assert months["time_end"].values[-1] == np.datetime64("2019-05-01")
    with pytest.raises(PriorError, match=r"The interval from 2019-01-01.* is there twice"):
        priors.read_flux([tmp_path / "flux_01.nc", tmp_path / "flux_01.nc", tmp_path / "flux_02.nc"], "ch4", GRID)


def test_bounds_go_before_guesses(tmp_path):
    latitude, longitude = globe(5.0)
    bounds = np.array([["2019-01-01", "2020-01-01"], ["2020-01-01", "2021-01-01"]], "M8[ns]")
    xr.Dataset(
        {
            "flux_total_prior": (("time", "latitude", "longitude"), np.ones((2, 36, 72)), {"units": "mol m-2 s-1"}),
            "time_bnds": (("time", "nbnds"), bounds),
        },
        {
            "time": ("time", bounds[:, 0] + (bounds[:, 1] - bounds[:, 0]) // 2, {"bounds": "time_bnds"}),
            "latitude": latitude,
            "longitude": longitude,
        },
    ).to_netcdf(tmp_path / "paris.nc", encoding={"time": {"units": "hours since 1970-01-01", "dtype": "f8"}})
    flux = priors.read_flux(tmp_path / "paris.nc", "ch4", GRID, end="2019-06-01")
    assert flux["time_end"].values.tolist() == [np.datetime64("2020-01-01", "ns").astype(int)]
