"""ERA5 as the particle model wants it, real and made up; tracks on real fields; winds turned; what is refused."""

import gzip

import numpy as np
import pytest
import xarray as xr

from inversion.errors import FootprintError
from inversion.transport import era5, footprints, particles
from inversion.transport.era5 import GRAVITY, R_DRY
from inversion.transport.fields import LEVELS
from inversion.transport.tracks import Points, tracks

UTM = "EPSG:32632"


@pytest.fixture(scope="module")
def munich(shared):
    """Three hours of ERA5 on a UTM grid, without the edges where it has nothing."""
    files = sorted((shared / "data" / "meteorology").glob("era5_utm32_*.nc"))
    return [xr.load_dataset(file).isel(y=slice(1, -2), x=slice(1, -1)) for file in files]


def parcels(shared, minute):
    name = f"fwd_dt60_2025_05_01_{minute // 60:02d}_{minute % 60:02d}_00.tab.gz"
    with gzip.open(shared / "data" / "meteorology" / "mptrac_forward" / name, "rt") as stream:
        return np.array([[float(x) for x in line.split()] for line in stream if line.strip() and line[0] != "#"])


def test_tracks_on_real_fields_are_those_of_mptrac(shared):
    files = sorted((shared / "data" / "meteorology").glob("era5_utm32_*.nc"))
    ds = xr.concat([xr.load_dataset(file)[["u", "v", "w"]] for file in files], "time")
    begin, end = parcels(shared, 0), parcels(shared, 120)
    found = tracks(ds, Points(begin[:, 2], begin[:, 3], begin[:, 9] * 100), seconds=7200)
    off = np.hypot(found.x - end[:, 2], found.y - end[:, 3])
    assert off.max() <= 1.0
    assert np.abs(found.pressure / 100 - end[:, 9]).max() <= 0.002
    # Turned into the grid, as they should be, winds lead elsewhere: that is another convention, not noise.
    assert np.hypot(*(end[:, 2:4] - begin[:, 2:4]).T).max() > 10_000
    with pytest.raises(FootprintError, match="It lasts 7200 s, the tracks need 9000 s"):
        tracks(ds, Points(begin[:, 2], begin[:, 3], begin[:, 9] * 100), seconds=9000)
    with pytest.raises(FootprintError, match="1 parcels begin outside of the meteorology's x"):
        tracks(ds, Points(np.array([0.0]), begin[:1, 3], begin[:1, 9] * 100), seconds=60)


def test_winds_are_turned_to_east_and_north():
    longitude, latitude = np.array([[9.0, 12.0]]), np.array([[48.0, 48.0]])
    east, north = era5.rotated(np.ones((1, 2)), np.zeros((1, 2)), longitude=longitude, latitude=latitude, crs=UTM)
    np.testing.assert_allclose(east**2 + north**2, 1.0)
    assert north[0, 0] == pytest.approx(0, abs=1e-4)  # on the central meridian
    # Convergence of the meridians: tan γ = tan(λ - λ_0) sin φ; the x axis points south of east there.
    expected = np.arctan(np.tan(np.radians(3.0)) * np.sin(np.radians(48.0)))
    assert np.arctan2(north[0, 1], east[0, 1]) == pytest.approx(-expected, abs=2e-4)


def test_real_era5_becomes_fields_on_heights(munich):
    met = era5.fields(munich)
    assert met.u.shape == (3, LEVELS.size, 27, 15)
    assert met.geographic
    density_aloft = met.rho[:, LEVELS == 4000.0] / met.rho[:, :1]
    assert ((density_aloft > 0.6) & (density_aloft < 0.75)).all()
    assert np.abs(met.w).max() < 1.0
    assert (met.ustar > 0).all()
    # Hydrostatic: the weight of the column is the pressure at its foot.
    ds = munich[0]
    weight = np.trapezoid(met.rho[0].mean(axis=(1, 2)), LEVELS) * GRAVITY
    assert weight == pytest.approx(float(ds["sp"].mean()), rel=0.08)
    where = xr.Dataset(
        {
            "time": ("receptor", [ds["time"].values[0] + np.timedelta64(2, "h")]),
            "longitude": ("receptor", [10.0]),
            "latitude": ("receptor", [47.5]),
            "height": ("receptor", [100.0]),
        }
    )
    grid = xr.Dataset(coords={"longitude": np.arange(8.5, 11.6, 0.1), "latitude": np.arange(45.5, 49.6, 0.1)})
    assert float(particles.footprints(where, met, grid, particles=100, hours_back=2)["srr"].sum()) > 0


def column(*, hours=3, theta=lambda z: np.where(z < 1000, 300.0, 300.0 + 0.01 * (z - 1000)), heat=150.0):
    """ERA5-named data of one profile everywhere: potential temperature by height, dry, a wind of 5 m/s."""
    pressure = np.arange(1000, 150, -25) * 100.0
    z = -8000 * np.log(pressure / 101_325)
    t = theta(z) * (pressure / 101_325) ** (R_DRY / 1004.7)
    time = np.datetime64("2026-06-01") + np.arange(hours).astype("timedelta64[h]")
    lat, lon = np.arange(30, 33.1, 1.0), np.arange(110, 114.1, 1.0)
    dims, surface = ("time", "level", "latitude", "longitude"), ("time", "latitude", "longitude")
    shape = hours, pressure.size, lat.size, lon.size

    def of(values):
        return dims, np.broadcast_to(np.asarray(values)[None, :, None, None], shape).copy()

    def flat(value):
        return surface, np.full((hours, lat.size, lon.size), float(value))

    variables = {
        name: of(np.full(pressure.size, value)) for name, value in (("u", 5.0), ("v", 0.0), ("w", 0.0), ("q", 1e-5))
    }
    variables["t"] = of(t)
    surfaces = {
        "sp": 101_325,
        "t2m": 300.0,
        "d2m": 230.0,
        "u10": 3.0,
        "v10": 0.0,
        "ishf": -heat,
        "iews": 0.15,
        "inss": 0.0,
    }
    variables |= {name: flat(value) for name, value in surfaces.items()}
    return xr.Dataset(variables, {"time": time, "level": pressure / 100, "latitude": lat, "longitude": lon})


def test_stability_and_layer_of_a_profile_that_is_known():
    met = era5.fields(column())
    rho = 101_325 / (R_DRY * 300.0)
    ustar = np.sqrt(0.15 / rho)
    assert met.ustar == pytest.approx(ustar, rel=1e-3)
    assert met.stability == pytest.approx(-0.4 * 9.80665 * 150 / (rho * 1004.7 * 300 * ustar**3), rel=1e-2)
    assert met.layer == pytest.approx(1100, abs=150)  # the inversion begins at 1000 m
    stars = (9.80665 / 300 * 150 / (rho * 1004.7) * met.layer[0, 0, 0]) ** (1 / 3)
    assert met.wstar == pytest.approx(stars, rel=0.02)
    assert np.abs(met.w).max() < 1e-6
    stable = era5.fields(column(theta=lambda z: 300 + 0.01 * z, heat=-30.0))
    assert (stable.stability > 0).all()
    assert (stable.wstar == 0).all()
    assert (stable.layer < 400).all()


def test_density_is_that_of_dry_air():
    dry, moist = (era5.fields(column().assign(q=lambda d, q=q: d["q"] * 0 + q)) for q in (0.0, 0.02))
    aloft = np.flatnonzero((LEVELS >= 100) & (LEVELS <= 500))  # above, moist air also lifts the pressure levels
    np.testing.assert_allclose(moist.rho[:, aloft] / dry.rho[:, aloft], (1 - 0.02) / (1 + 0.61 * 0.02), rtol=3e-3)


def test_spellings_accumulated_fluxes_and_order_do_not_matter():
    ds = column()
    met = era5.fields(ds)
    new = {"t2m": "2t", "d2m": "2d", "u10": "10u", "v10": "10v", "level": "plev", "time": "valid_time"}
    other = ds.rename(new).assign_coords(plev=ds["level"].values * 100)
    other["sshf"] = other["ishf"] * 3600
    other = other.drop_vars("ishf").isel(latitude=slice(None, None, -1), plev=slice(None, None, -1))
    parts = [other.isel(valid_time=[k]) for k in (2, 0, 1)]
    again = era5.fields(parts)
    for name in ("u", "w", "rho", "layer", "stability", "ustar"):
        np.testing.assert_allclose(getattr(again, name), getattr(met, name), rtol=1e-5, atol=1e-7)


def test_what_is_refused():
    ds = column()
    with pytest.raises(FootprintError, match=r"Variables are missing: t2m \(t2m or 2t\), ishf or sshf"):
        era5.fields(ds.drop_vars(["t2m", "ishf"]))
    with pytest.raises(FootprintError, match="There is a gap after 2026-06-01T01:00:00: steps of 3600 to 7200 s"):
        era5.fields(column(hours=5).isel(time=[0, 1, 3, 4]))
    with pytest.raises(FootprintError, match="1 times are there twice"):
        era5.fields([ds, ds.isel(time=[2])])
    with pytest.raises(FootprintError, match="It has 1 time, expected two or more"):
        era5.fields(ds.isel(time=[0]))
    with pytest.raises(FootprintError, match="names no grid mapping: give crs="):
        era5.fields(ds.rename({"latitude": "y", "longitude": "x"}))


def around_the_world(folder):
    """Write six hours, a file each, longitudes from 0 to 360, latitudes from north to south."""
    ds = column(hours=6)
    lon = np.arange(0, 360, 30.0)
    wide = ds.isel(longitude=np.zeros(lon.size, int)).assign_coords(longitude=lon)
    wide["u"] = wide["u"] + np.sin(np.radians(wide["longitude"])) + wide["time"].dt.hour
    for k in range(6):
        wide.isel(time=[k], latitude=slice(None, None, -1)).to_netcdf(folder / f"{k}.nc")
    return wide, sorted(folder.glob("*.nc"))


def test_no_more_of_files_is_read_than_is_needed(tmp_path):
    wide, files = around_the_world(tmp_path)
    time = wide["time"].values
    met = era5.opened(files, time[2], time[3], region=(-20.0, 40.0, 31.5, 32.5))
    assert met.x.tolist() == [-30, 0, 30, 60]
    assert met.y.tolist() == [31, 32, 33]
    seconds = time.astype("datetime64[s]").astype(float)
    assert met.time[0] <= seconds[2] <= seconds[3] <= met.time[-1]
    whole = era5.fields(wide)
    here = np.searchsorted(whole.time, met.time)
    np.testing.assert_allclose(met.u[..., 1:3], whole.u[here][:, :, 1:4, :2], rtol=1e-6)
    np.testing.assert_allclose(met.u[..., 0], whole.u[here][:, :, 1:4, 11], rtol=1e-6)  # 330 degrees
    with pytest.raises(FootprintError, match="No file holds anything between"):
        era5.opened(files, time[0] - np.timedelta64(90, "D"), time[0] - np.timedelta64(80, "D"))
    (tmp_path / "no.nc").write_text("none")
    with pytest.raises(FootprintError, match=r"no\.nc cannot be used: It is no netCDF file that can be read"):
        era5.opened([tmp_path / "no.nc"], time[0], time[1])


def test_a_stretch_at_a_time_gives_the_same(monkeypatch):
    ds = column(hours=5)
    ds["t"] = ds["t"] + ds["time"].dt.hour  # so that heights change
    whole = era5.fields(ds)
    monkeypatch.setattr(era5, "_AT_ONCE", 1)
    pieces = era5.fields(ds)
    for name in ("u", "v", "w", "rho", "layer", "ustar", "wstar", "stability"):
        np.testing.assert_array_equal(getattr(pieces, name), getattr(whole, name))
    assert np.abs(whole.w).max() > 0


def test_between_pressure_levels_it_is_linear_in_the_logarithm_of_height():
    rng = np.random.default_rng(2)
    height = np.sort(rng.uniform(-500, 25_000, (2, 12, 2, 3)), axis=1)
    values, ground = rng.normal(size=height.shape), rng.normal(size=(2, 2, 3))
    found = era5._interpolated(height, values, ground)
    for t, j, i in np.ndindex(2, 2, 3):
        above = height[t, :, j, i] > 20.0
        at = np.r_[10.0, height[t, above, j, i]]
        expected = np.interp(np.log(LEVELS), np.log(at), np.r_[ground[t, j, i], values[t, above, j, i]])
        np.testing.assert_allclose(found[t, :, j, i], expected, rtol=1e-5, atol=1e-6)


def test_the_meteorology_tells_the_model():
    where = xr.Dataset(
        {
            "time": ("receptor", np.array(["2026-06-01T02"], "datetime64[ns]")),
            "longitude": ("receptor", [112.0]),
            "latitude": ("receptor", [31.5]),
            "height": ("receptor", [50.0]),
        }
    )
    grid = xr.Dataset(coords={"longitude": np.arange(110.5, 114, 0.5), "latitude": np.arange(30.5, 33, 0.5)})
    ds = column()
    options = {"particles": 20, "hours_back": 1}
    found = [footprints(where, met, grid, **options) for met in (ds, [ds], era5.fields(ds))]
    assert all(one["srr"].equals(found[0]["srr"]) for one in found)
    assert "particles" in found[0].attrs["source"]
    air = {"u": 3.0, "v": 0.0, "blh": 800.0, "rho": 1.2, "sigma_v": 0.6, "sigma_w": 0.4}
    mixed = xr.Dataset({name: ("receptor", [value]) for name, value in air.items()})
    assert "plume" in footprints(where, mixed, grid, hours=1).attrs["source"]
