"""The Gaussian plume against its limits, the textbook's formula and brute force."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad, solve_ivp
from scipy.special import erf

from inversion import transport
from inversion.datasets import FOOTPRINT
from inversion.errors import FootprintError
from inversion.transport.dispersion import taylor, vertical_density
from inversion.transport.plume import METRES_PER_DEGREE, footprints
from qc.schema import require
from qc.units import MOLAR_MASS_DRY_AIR

T0 = np.datetime64("2024-06-01T06:00", "ns")
HOUR = np.timedelta64(1, "h")
RHO = 1.15


def receptor(height=100.0, *, longitude=115.0, latitude=0.0, time=T0, **more):
    point = {"time": time, "longitude": longitude, "latitude": latitude, "height": height, **more}
    return xr.Dataset({name: ("receptor", np.atleast_1d(value)) for name, value in point.items()})


def steady(u=5.0, v=0.0, blh=1000.0, sigma_v=0.8, sigma_w=0.6, **more):
    values = {"u": u, "v": v, "blh": blh, "rho": RHO, "sigma_v": sigma_v, "sigma_w": sigma_w, **more}
    return xr.Dataset({name: ("receptor", [value]) for name, value in values.items()})


def grid(west, east, south, north, step):
    return xr.Dataset(
        coords={
            "longitude": np.arange(west + step / 2, east, step),
            "latitude": np.arange(south + step / 2, north, step),
        }
    )


@given(st.floats(0.01, 30), st.floats(0, 1), st.floats(100, 3000))
def test_the_vertical_density_is_one_over_the_layer(spread, share, lid):
    # By reciprocity it is the density at z of what came from the ground: over z it must be one.
    points, weights = np.polynomial.legendre.leggauss(200)
    z = 0.5 * lid * (points + 1)
    if spread < 0.05:
        return  # too narrow for 200 points
    density = vertical_density(z, np.full_like(z, spread * lid), np.full_like(z, lid))
    assert 0.5 * lid * (weights @ density) == pytest.approx(1, rel=1e-9)
    assert vertical_density(share * lid, 30.0 * lid, lid) == pytest.approx(1 / lid)


@given(st.floats(0, 1))
def test_images_and_waves_meet(share):
    below, above = (vertical_density(np.array(share), np.array(s), np.array(1.0)) for s in (0.63 - 1e-12, 0.63 + 1e-12))
    assert below == pytest.approx(above, rel=1e-7)


def test_above_the_lid_nothing_is_seen():
    assert vertical_density(np.array(1001.0), np.array(500.0), np.array(1000.0)) == 0


def test_taylor_s_limits():
    sigma, tau = np.array(0.5), np.array(100.0)
    assert taylor(sigma, tau, np.array(0.01)) == pytest.approx(0.5 * 0.01, rel=1e-4)
    assert taylor(sigma, tau, np.array(1e7)) == pytest.approx(0.5 * np.sqrt(2 * 100 * 1e7), rel=1e-4)
    short, long = taylor(sigma, tau, np.array([0.999999, 1.000001]))
    assert short == pytest.approx(long, rel=1e-5)  # series and formula meet at t/τ = 0.01


def test_all_the_air_gives_the_integral_whatever_the_wind():
    height, lid, sigma_w, hours = 80.0, 900.0, 0.6, 12.0
    fp = footprints(receptor(height), steady(blh=lid, u=3, v=-4), grid(110, 120, -5, 5, 0.1), hours=hours)
    tau = 0.15 * lid / sigma_w

    def density(log_t):
        t = np.exp(log_t)
        return t * float(vertical_density(np.array(height), taylor(np.array(sigma_w), np.array(tau), np.array(t)), lid))

    integral = quad(density, 0, np.log(3600 * hours), epsrel=1e-10, limit=500)[0]
    total = float(fp["srr"].sum())
    assert total == pytest.approx(MOLAR_MASS_DRY_AIR / RHO * integral, rel=2e-3)
    assert float(fp["fraction_outside"][0]) < 1e-9


def test_a_mixed_hour_is_m_over_rho_h():
    fps = [footprints(receptor(100), steady(), grid(105, 125, -9, 9, 0.2), hours=h) for h in (24.0, 25.0)]
    hour = float((fps[1]["srr"] - fps[0]["srr"]).sum())
    assert hour == pytest.approx(MOLAR_MASS_DRY_AIR * 3600 / (RHO * 1000.0), rel=1e-3)


@pytest.mark.parametrize("u", [2.0, 8.0])
def test_a_fetch_gives_f_x_m_over_rho_h_u(u):
    """Δχ of a uniform flux over a fetch x in a mixed layer is F x M_air / (ρ h u)."""
    fp = footprints(receptor(100), steady(u=u, blh=800), grid(110, 116, -6, 6, 0.05), hours=120, spread=0.0)
    near, far = 115 - 1.5, 115 - 3.5  # degrees upwind, mixed by then
    band = fp["srr"].sel(longitude=slice(far, near)).sum()
    fetch = 2.0 * METRES_PER_DEGREE
    assert float(band) == pytest.approx(fetch * MOLAR_MASS_DRY_AIR / (RHO * 800 * u), rel=3e-3)


def test_it_is_the_textbook_s_plume():
    """c = Q / (2π u σ_y σ_z) exp(−y²/2σ_y²) 2 exp(−z²/2σ_z²) over cells 2 to 10 km upwind, by brute force."""
    u, sigma_v, sigma_w, z, lid = 6.0, 0.6, 0.4, 50.0, 2000.0
    cells = grid(114.9, 115.0, -0.02, 0.02, 0.005)
    air = steady(u=u, sigma_v=sigma_v, sigma_w=sigma_w, blh=lid, tau_v=1e6, tau_w=1e6)
    fp = footprints(receptor(z), air, cells, hours=6, spread=0.0)
    x = np.linspace(2000, 10000, 4001)
    x = 0.5 * (x[1:] + x[:-1])
    width, depth = sigma_v * x / u, sigma_w * x / u
    edges = np.arange(-0.02, 0.0201, 0.005) * METRES_PER_DEGREE
    across = 0.5 * np.diff(erf(edges[:, None] / (np.sqrt(2) * width)), axis=0)
    up = 2 / (np.sqrt(2 * np.pi) * depth) * np.exp(-(z**2) / (2 * depth**2))
    expected = MOLAR_MASS_DRY_AIR / RHO * (across * up / u).sum(axis=1) * 2.0
    start, stop = 115 - 10000 / METRES_PER_DEGREE, 115 - 2000 / METRES_PER_DEGREE
    shares = _overlap(cells["longitude"].values, 0.005, start, stop)
    found = (fp["srr"][0].values * shares).sum(axis=1)
    # The plume's own approximation (no diffusion along the wind) is worth (σ_v/u)² = 1 %, in its tails some more.
    np.testing.assert_allclose(found, expected, rtol=0.01, atol=0.002 * expected.max())


def _overlap(centres, step, start, stop):
    low, high = np.maximum(centres - step / 2, start), np.minimum(centres + step / 2, stop)
    return np.clip(high - low, 0, None) / step


@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_refining_the_grid_converges(spread):
    domain = (113.0, 116.0, -1.5, 1.5)
    fine = footprints(receptor(50), steady(u=4, v=1), grid(*domain, 0.0625), hours=24, spread=spread)["srr"][0]
    for factor, tolerance in ((4, 0.02), (8, 0.04)):
        coarse = footprints(receptor(50), steady(u=4, v=1), grid(*domain, 0.0625 * factor), hours=24, spread=spread)
        summed = fine.coarsen(longitude=factor, latitude=factor).sum().values
        error = np.abs(coarse["srr"][0].values - summed)
        assert error.max() < tolerance * summed.max()
        assert coarse["srr"].sum() == pytest.approx(float(fine.sum()), rel=5e-3)


def test_the_wind_s_direction_is_where_the_air_came_from():
    fp = footprints(receptor(100), steady(u=5, v=0), grid(110, 120, -5, 5, 0.5), hours=24)["srr"][0]
    west = float(fp.sel(longitude=slice(110, 115)).sum())
    assert west > 0.97 * float(fp.sum())
    turned = footprints(receptor(100), steady(u=0, v=5), grid(110, 120, -5, 5, 0.5), hours=24)["srr"][0]
    np.testing.assert_allclose(turned.values, fp.values.T, rtol=0.01, atol=1e-4 * float(fp.max()))


def test_a_turning_wind_bends_the_trajectory():
    """The middle of the cloud against scipy's integration of the same wind."""
    hours = np.arange(-40, 3)
    time = T0 + hours * HOUR
    u, v = 4 * np.cos(hours / 9), 3 * np.sin(hours / 7)
    fields = {"u": u, "v": v}
    met = xr.Dataset({k: ("time", w) for k, w in fields.items()}, coords={"time": time}).assign(
        blh=1000.0, rho=RHO, sigma_v=0.5, sigma_w=0.5
    )
    met = met.assign({k: met[k].broadcast_like(met["u"]) for k in ("blh", "rho", "sigma_v", "sigma_w")})
    point = receptor(100, longitude=115.0, latitude=0.0, time=T0 + np.timedelta64(90, "m"))
    with_, without = (footprints(point, met, grid(108, 122, -7, 7, 0.05), hours=h)["srr"][0] for h in (30.0, 29.5))
    late = with_ - without  # where the air was 29.5 to 30 hours before
    centre = [float((late * late[name]).sum() / late.sum()) for name in ("longitude", "latitude")]

    def backward(t, _):
        at = 1.5 - t
        return [-np.interp(at, hours, u) * 3600, -np.interp(at, hours, v) * 3600]

    x, y = solve_ivp(backward, (0, 29.75), [0, 0], max_step=0.1, rtol=1e-8).y[:, -1] / METRES_PER_DEGREE
    assert centre == pytest.approx([115 + x, y], abs=0.03)


def test_a_shallow_night_under_a_deep_afternoon_stays_diluted():
    """Air under 200 m at dawn was mixed through 1500 m the afternoon before: 1/1500 there, not 1/200."""
    hours = np.arange(-48, 2)
    blh = np.where((hours % 24 > 6) & (hours % 24 < 12), 1500.0, 200.0)
    met = xr.Dataset(
        {
            name: ("time", np.broadcast_to(value, hours.size))
            for name, value in {"u": 1.0, "v": 0.0, "blh": blh, "rho": RHO, "sigma_v": 0.5, "sigma_w": 0.5}.items()
        },
        coords={"time": T0 + hours * HOUR},
    )
    fps = [footprints(receptor(50), met, grid(110, 120, -5, 5, 0.25), hours=h) for h in (34.0, 46.0)]
    half_day = float((fps[1]["srr"] - fps[0]["srr"]).sum())
    assert half_day == pytest.approx(
        MOLAR_MASS_DRY_AIR * 12 * 3600 / (RHO * 1500.0), rel=0.02
    )  # half-hour steps over a jump


def test_a_high_inlet_sees_less_of_what_is_near_and_as_much_of_what_is_far():
    near, far = {"longitude": slice(114.9, 115.1)}, {"longitude": slice(110, 113)}
    low, high = (footprints(receptor(z), steady(), grid(110, 120, -5, 5, 0.1), hours=36)["srr"][0] for z in (20, 300))
    assert high.sel(near).sum() < 0.6 * low.sel(near).sum()
    assert float(high.sel(far).sum()) == pytest.approx(float(low.sel(far).sum()), rel=0.01)


def test_cut_off_decay_and_what_leaves_the_domain():
    small = grid(114, 116, -1, 1, 0.25)
    base = footprints(receptor(100), steady(), small, hours=36)
    assert float(base["fraction_outside"][0]) > 0.99
    decayed = footprints(receptor(100), steady(), small, hours=36, lifetime_hours=2.0)
    assert (decayed["srr"] <= base["srr"]).all()
    assert float(decayed["srr"].sum()) < 0.8 * float(base["srr"].sum())
    shorter = footprints(receptor(100), steady(), small, hours=1)
    assert float(shorter["srr"].sum()) < float(base["srr"].sum())


def many(sites, met_sites):
    rng = np.random.default_rng(0)
    hours = np.arange(-48, 3)
    size = (hours.size, len(met_sites))
    fields = {name: (("time", "site"), rng.uniform(*limits, size=size)) for name, limits in {
        "u": (-5, 5), "v": (-5, 5), "blh": (300, 1500), "sigma_v": (0.3, 1), "sigma_w": (0.3, 1)}.items()}  # fmt: skip
    met = xr.Dataset(fields, coords={"time": T0 + hours * HOUR, "site": met_sites})
    met["rho"] = ("site", np.linspace(1.0, 1.2, len(met_sites)))
    points = xr.concat(
        [receptor(50.0 * (i + 1), longitude=114.0 + i, site=site) for i, site in enumerate(sites)], dim="receptor"
    )
    return points, met


def test_receptors_do_not_know_of_each_other():
    points, met = many(["b", "a", "b"], ["a", "b"])
    cells = grid(108, 122, -7, 7, 0.5)
    together = footprints(points, met, cells)
    require(together, FOOTPRINT)
    assert list(together["site"].values) == ["b", "a", "b"]
    for i in range(3):
        alone = footprints(points.isel(receptor=[i]), met, cells)
        np.testing.assert_allclose(
            together["srr"][i], alone["srr"][0], rtol=0.005, atol=1e-3 * float(alone["srr"].max())
        )


def test_classes_of_stability_order_the_near_field():
    totals = []
    for letter in "ADF":
        met = xr.Dataset({k: ("receptor", [x]) for k, x in {"u": 3.0, "v": 0.0, "blh": 1000.0, "rho": RHO}.items()})
        met["stability"] = ("receptor", [letter])
        near = footprints(receptor(100), met, grid(114.99, 115.0, -0.01, 0.01, 0.005))
        totals.append(float(near["srr"].sum()))
    assert totals[0] > totals[1] > totals[2] >= 0


def test_the_public_name():
    point, met, cells = receptor(), steady(), grid(110, 120, -5, 5, 1)
    assert transport.footprints(point, met, cells).identical(footprints(point, met, cells))


@pytest.mark.parametrize(
    ("point", "met", "cells", "words"),
    [
        (receptor(0.0), steady(), grid(110, 120, -5, 5, 1), "0.0 m above ground"),
        (receptor(np.nan), steady(), grid(110, 120, -5, 5, 1), "no height"),
        (receptor().drop_vars("latitude"), steady(), grid(110, 120, -5, 5, 1), "latitude"),
        (receptor(), steady().drop_vars("blh"), grid(110, 120, -5, 5, 1), "no 'blh'"),
        (receptor(), steady().drop_vars("sigma_w"), grid(110, 120, -5, 5, 1), "'stability'"),
        (receptor(), steady(blh=-1), grid(110, 120, -5, 5, 1), "expected above 0"),
        (receptor(), steady(u=np.nan), grid(110, 120, -5, 5, 1), "not finite"),
        (receptor(), steady(), xr.Dataset(coords={"longitude": [2.0, 1.0], "latitude": [1.0, 2.0]}), "increasing"),
        (receptor(), steady().rename(receptor="height"), grid(110, 120, -5, 5, 1), None),
    ],
)
def test_what_cannot_be_is_refused_in_words(point, met, cells, words):
    if words is None:
        footprints(point, met, cells)  # the name of the receptors' dimension does not matter
        return
    with pytest.raises(FootprintError, match=words):
        footprints(point, met, cells)


def test_all_faults_at_once_and_units_are_checked():
    met = steady().drop_vars("rho")
    met["u"].attrs["units"] = "knots"
    with pytest.raises(FootprintError) as refusal:
        footprints(receptor(-1.0), met, grid(110, 120, -5, 5, 1))
    assert len(refusal.value.faults) == 3
    assert "'knots'" in str(refusal.value)


def test_a_receptor_outside_the_meteorology_s_time_or_sites_is_refused():
    points, met = many(["a"], ["a", "b"])
    late = points.assign(time=points["time"] + np.timedelta64(9, "D"))
    with pytest.raises(FootprintError, match="It covers 2024-05-30T06:00:00 to"):
        footprints(late, met, grid(110, 120, -5, 5, 1))
    with pytest.raises(FootprintError, match="but not c"):
        footprints(points.assign(site=("receptor", ["c"])), met, grid(110, 120, -5, 5, 1))
