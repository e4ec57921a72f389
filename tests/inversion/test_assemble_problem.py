"""Whole problems from pieces: backgrounds, several gases and kinds, what is refused and what is said."""

import numpy as np
import pytest
import xarray as xr

from inversion import solve
from inversion.assemble import (
    Baseline,
    Block,
    Curtain,
    Endpoints,
    ErrorModel,
    Sector,
    Stream,
    assemble,
    basis,
    from_columns,
    from_track,
    information,
    match,
)
from inversion.covariance import Kronecker
from inversion.errors import AssemblyError, CovarianceError, ProblemError
from inversion.regions import SECONDS_PER_YEAR, cell_area
from inversion.solve.localisation import Localisation
from inversion.transport import columns
from qc.units import MOLAR_MASS
from tests.inversion.pieces import GRID, HOUR, LATITUDE, LONGITUDE, START, flux, footprints, observations

DAY = 24 * HOUR
EDGES = START + np.array([0, 2, 5]) * DAY
NOTHING = {"ch4": None}


def stream(obs=None, gas="ch4", kind="in situ", error=None, counts=None, **options):
    obs = observations() if obs is None else obs
    return Stream(gas, kind, obs, footprints(obs, **options), error or ErrorModel(representation=5.0), counts or {})


def block(*sectors, where=None, edges=EDGES, **options):
    return Block(sectors or (Sector("all", "ch4", flux()),), where or basis.cells(GRID), edges, **options)


def simple(one=None, *, background=None, **options):
    one = one or stream()
    background = Baseline(1940.0, 20.0, every_days=1.0) if background is None else background
    return assemble([one], [block(where=tree(one), **options)], {one.gas: background}, name="a case")


def tree(one, n=6):
    return basis.quadtree(information([one], [Sector("w", one.gas, flux())]), n)


def finding(assembled, code):
    found = [f.sentence for f in assembled.problem.findings if f.code == code]
    return found[0] if found else None


def test_states_are_labelled_in_the_order_of_B():
    sectors = (Sector("a", "ch4", flux(), sigma=0.3), Sector("b", "ch4", flux(seed=7), sigma=0.6, prior=0.0))
    rho = np.array([[1.0, -0.4], [-0.4, 1.0]])
    parts = block(*sectors, where=tree(stream()), length_km=300.0, length_days=10.0, correlation=rho)
    assembled = assemble([stream()], [parts], {"ch4": Baseline(1940.0, 20.0)})
    x = assembled.problem.x_a
    assert x.sizes == {"state": 24}
    assert x["sector"].values.tolist() == ["a"] * 12 + ["b"] * 12
    assert x["region"].values[:6].tolist() == x["region"].values[6:12].tolist() == parts.basis.region.tolist()
    assert x["period"].values[:12].tolist() == ["2024-03-01/2024-03-03"] * 6 + ["2024-03-03/2024-03-06"] * 6
    np.testing.assert_array_equal(x["region_longitude"].values[6:12], parts.basis.longitude)
    np.testing.assert_array_equal(x.values, np.repeat([1.0, 0.0], 12))
    B = assembled.problem.B.to_dense()
    assert isinstance(assembled.problem.B, Kronecker)
    i, j = 0, 12 + 6 + 3  # sector a, first period, first region; sector b, second period, fourth region
    away = parts._space(np.ones(6)).to_dense()[0, 3]
    assert B[i, j] == pytest.approx(0.3 * 0.6 * -0.4 * np.exp(-2.5 / 10) * away, rel=1e-12)


def test_a_rolling_ensemble_knows_where_regions_and_observations_are():
    """What is localised by distance, far beyond the domain, is not localised."""
    one = stream(observations(96))
    parts = block(where=tree(one), length_km=300.0, length_days=10.0)
    problem = assemble([one], [parts], {"ch4": None}).problem
    exact = solve.ensemble(problem, members=60, lag=2, seed=1)
    far = solve.ensemble(problem, members=60, lag=2, seed=1, localisation=Localisation(length_km=1e6))
    np.testing.assert_allclose(far.mean, exact.mean, rtol=1e-3, atol=1e-3)
    near = solve.ensemble(problem, members=60, lag=2, seed=1, localisation=Localisation(length_km=100.0))
    assert np.abs(near.mean.values - exact.mean.values).max() > 0.01


def test_truth_is_found_again():
    """Observations made from a truth by the same H give it back, within the posterior's own error."""
    one = stream(observations(200))
    where = tree(one, 8)
    assembled = assemble(
        [one],
        [block(where=where, edges=START + np.array([0, 30]) * DAY)],
        {"ch4": Baseline(1940.0, 20.0, every_days=2.0)},
    )
    problem = assembled.problem
    rng = np.random.default_rng(6)
    truth = 1 + 0.5 * rng.normal(size=8)
    b = problem.b_a.values + 20 * rng.normal(size=problem.n_boundary)
    y = problem.simulate(truth, b).values + rng.normal(size=400) * np.sqrt(problem.R.diagonal())
    obs = one.observations.assign(mole_fraction=one.observations["mole_fraction"].copy(data=y))
    again = assemble(
        [Stream("ch4", "in situ", obs, one.footprints, one.error)],
        list(assembled.blocks),
        {"ch4": Baseline(1940.0, 20.0, every_days=2.0)},
    )
    posterior = solve.batch(again.problem)
    z = (posterior.mean.values - truth) / posterior.stdev().values
    assert np.abs(z).max() < 3.5
    assert 0.5 < (z @ z) / 8 < 2.5
    assert 300 < posterior.diagnostics.chi2 < 500
    assert posterior.diagnostics.dofs_state > 4


def test_totals_are_areas_times_fluxes():
    sectors = (Sector("a", "ch4", flux()), Sector("b", "ch4", flux(seed=7), hour=(0.0,) * 12 + (2.0,) * 12))
    assembled = assemble([stream()], [block(*sectors, where=tree(stream()))], {"ch4": Baseline(1940.0, 20.0)})
    share = xr.DataArray(
        np.zeros((2, 8, 10)), dims=("country", "latitude", "longitude"), coords={"country": ["x", "y"], **GRID.coords}
    )
    share[0, :4], share[1, 3:] = 1.0, 0.25
    W = assembled.totals(shares=share)
    assert list(zip(W["sector"].values, W["region"].values, strict=True)) == [
        ("all", "domain"), ("a", "domain"), ("all", "x"), ("all", "y"), ("b", "domain"),
    ]  # fmt: skip
    mass = cell_area(LATITUDE, LONGITUDE).values * MOLAR_MASS["ch4"] * SECONDS_PER_YEAR / 1e6
    ones = W.values @ np.ones(assembled.problem.n_state)
    expected = [(mass * s.flux.values).sum() for s in sectors]
    np.testing.assert_allclose(ones[[1, 4]], expected, rtol=1e-9)
    np.testing.assert_allclose(ones[0], sum(expected), rtol=1e-9)
    assert W.attrs["units"] == "kt yr-1"
    posterior = solve.batch(assembled.problem)
    assert posterior.total(W)["region"].values[2] == "x"
    # The aggregate of a scaling in one period is that period's part.
    first = np.where(assembled.problem.x_a["period"].values == "2024-03-01/2024-03-03", 1.0, 0.0)
    np.testing.assert_allclose(W.values[0] @ first, sum(expected) * 2 / 5, rtol=1e-9)


def test_shares_in_cells_beat_regions_that_are_too_large():
    """The total of a region is that of its cells in whatever basis functions they lie."""
    one = stream()
    share = xr.DataArray(np.zeros((1, 8, 10)), dims=("p", "latitude", "longitude"), coords={"p": ["x"], **GRID.coords})
    share[0, 2:6, 3:8] = 0.7
    totals = [
        assemble([one], [block(where=where)], {"ch4": Baseline(1940.0, 20.0)}).totals(shares=share)
        for where in (basis.cells(GRID), tree(one, 5))
    ]
    sums = [float(W.sel(total=W["region"] == "x").values.sum()) for W in totals]
    assert sums[0] == pytest.approx(sums[1], rel=1e-12)


def test_knots_common_and_by_site():
    common = Baseline(1940.0, 20.0, every_days=1.0, length_days=3.0).terms([stream()])
    np.testing.assert_allclose(np.asarray(common.H_b.sum(axis=1)), 1.0)
    assert common.H_b.shape == (96, 3)
    line = common.H_b @ np.arange(3.0)
    hours = (observations()["time"].values - (START + DAY)) / DAY
    np.testing.assert_allclose(line, hours, rtol=1e-9)
    assert common.B_b.to_dense()[0, 2] == pytest.approx(400 * np.exp(-2 / 3), rel=1e-12)
    each = Baseline(1940.0, 20.0, every_days=1.0, per="site").terms([stream()])
    assert each.H_b.shape == (96, 6)
    assert not each.H_b[:48, 3:].count_nonzero()
    data = Baseline("data", 20.0, every_days=1.0).terms([stream()])
    y = observations()["mole_fraction"].values
    assert y.min() < data.b_a.min() < np.quantile(y, 0.2)
    assert "the observations themselves" in data.note


def field(value=None):
    latitude, longitude = np.arange(20.0, 41, 2.0), np.arange(100.0, 127, 2.0)
    time = START + np.arange(-3, 6) * DAY
    height = np.array([50.0, 500, 1500, 4000, 9000])
    shape = (time.size, height.size, latitude.size, longitude.size)
    x = 1900e-9 + 1e-9 * (longitude - 110) + 0 * latitude[:, None] - 0.01e-9 * height[:, None, None]
    x = np.broadcast_to(x, shape) if value is None else np.full(shape, value)
    high = np.broadcast_to(height[:, None, None], shape)
    return xr.Dataset(
        {"mole_fraction": (("time", "level", "latitude", "longitude"), x, {"units": "mol mol-1"}),
         "height": (("time", "level", "latitude", "longitude"), high, {"units": "m"})},
        {"time": time, "latitude": latitude, "longitude": longitude}, {"source": "made.nc"},
    )  # fmt: skip


def test_a_field_where_the_particles_ended():
    one = stream(ends=30)
    terms = Endpoints(field(), 5.0, every_days=1.0).terms([one])
    ds = one.footprints
    expected = (1900 + (ds["end_longitude"] - 110) - 0.01 * ds["end_height"]).mean("particle").values
    assert terms.term[0] == "field"
    np.testing.assert_allclose(terms.H_b @ terms.b_a, expected, rtol=1e-9)
    assert np.sqrt(terms.B_b.diagonal()[0]) == pytest.approx(1e-6 * terms.b_a[0])
    np.testing.assert_allclose(np.sqrt(terms.B_b.diagonal()[1:]), 5.0)
    with pytest.raises(AssemblyError, match="no end_longitude, end_latitude, end_height, end_time: compute them with"):
        Endpoints(field(), 5.0).terms([stream()])


def test_a_curtain_around_the_domain():
    one = stream(sides=True)
    curtain = Curtain(1930.0, 10.0, layers=(0.0, 1000.0, 3000.0, 8000.0), every_days=1.0, correlation=0.3)
    terms = curtain.terms([one])
    assert terms.H_b.shape == (96, 13 * 3)
    np.testing.assert_allclose(np.asarray(terms.H_b.sum(axis=1)), 1.0)
    share = one.footprints["exit_share"].values
    west_low = terms.H_b[:, :3].sum(axis=1)
    np.testing.assert_allclose(np.asarray(west_low).ravel(), share[:, 0, 0], rtol=1e-12)
    assert terms.term[0].startswith("west 0-1000 m 2024-03-02")
    assert terms.term[-1].startswith("inside")
    assert terms.B_b.to_dense()[0, 3] == pytest.approx(0.3 * 100)
    by_field = Curtain(field(), 10.0, layers=(0.0, 1000.0, 3000.0, 8000.0)).terms([one])
    west, south = by_field.b_a[0], by_field.b_a[6]
    assert west == pytest.approx(1900 + (107.5 - 110) - 0.01 * 500, rel=1e-9)
    assert south == pytest.approx(1900 + (112.5 - 110) - 0.01 * 500, rel=1e-9)
    with pytest.raises(AssemblyError, match="do not say where the air came in"):
        curtain.terms([stream()])


def co2(obs=None, **options):
    obs = observations(units="umol mol-1", value=425.0, uncertainty=0.1, seed=5) if obs is None else obs
    return stream(obs, "co2", error=ErrorModel(representation=1.0, transport=2.0, correlation_hours=6.0), **options)


def test_two_gases_with_a_common_source_and_blocks_for_the_carbon_cycle():
    """CO2 fossil and CO share their error by the correlation; biosphere and ocean have blocks of their own."""
    co = stream(observations(units="nmol mol-1", value=150.0, seed=8), "co", error=ErrorModel(representation=5.0))
    fossil = Sector("fossil", "co2", flux(3e-7), sigma=0.3)
    tracer = Sector("fossil CO", "co", flux(3e-9), sigma=0.4)
    biosphere = Sector("biosphere", "co2", flux(-2e-7, seed=11), hour=(0.0,) * 6 + (2.0,) * 12 + (0.0,) * 6, sigma=0.5)
    ocean = Sector("ocean", "co2", flux(-1e-9, seed=12), sigma=0.8)
    where = tree(co, 5)
    parts = [
        block(fossil, tracer, where=where, correlation=np.array([[1.0, 0.8], [0.8, 1.0]])),
        block(biosphere, where=where, length_days=2.0),
        block(ocean, where=basis.mask(xr.DataArray(np.zeros((8, 10)), coords=GRID.coords)), edges=EDGES[[0, -1]]),
    ]
    with_hours = co2(hours=20)
    assembled = assemble([with_hours, co], parts, {"co2": Baseline(420.0, 5.0), "co": Baseline(120.0, 30.0)})
    problem = assembled.problem
    assert problem.y_units == "mol mol-1"
    assert problem.n_state == 10 + 10 + 10 + 1
    assert set(problem.y["site"].values) == {"aaa co2", "bbb co2", "aaa co", "bbb co"}
    H = problem.H.rows(slice(0, problem.n_obs))
    sector = problem.x_a["sector"].values
    gas = problem.y["obs_gas"].values
    assert not H[np.ix_(gas == "co2", sector == "fossil CO")].any()
    assert not H[np.ix_(gas == "co", sector != "fossil CO")].any()
    assert H[np.ix_(gas == "co", sector == "fossil CO")].any()
    np.testing.assert_allclose(problem.simulate(problem.x_a.values).values[gas == "co"].max(), 120e-9, rtol=0.5)
    R = problem.R.to_dense()
    assert R[0, 0] == pytest.approx((0.1**2 + 1.0 + 4.0) * 1e-12)
    assert R[0, 1] == pytest.approx(4.0 * np.exp(-1 / 6) * 1e-12)
    # What is learnt of CO tells about CO2's fossil part.
    alone = assemble([with_hours], [block(fossil, where=where), *parts[1:]], {"co2": Baseline(420.0, 5.0)})
    joint, apart = solve.batch(problem), solve.batch(alone.problem)
    assert (joint.stdev().values[:10] < apart.stdev().values[:10]).all()


def test_a_fixed_biosphere_is_a_term_of_its_own_name():
    one = co2()
    biosphere = Sector("biosphere", "co2", flux(-2e-7, seed=11), fixed=True)
    assembled = assemble(
        [one],
        [block(Sector("fossil", "co2", flux(3e-7)), where=tree(one))],
        {"co2": Baseline(420.0, 5.0)},
        fixed=[biosphere],
    )
    problem = assembled.problem
    assert problem.b_a["term"].values[-1] == "fixed: biosphere"
    posterior = solve.batch(problem)
    assert posterior.boundary.values[-1] == pytest.approx(problem.b_a.values[-1], rel=1e-5)
    added = problem.H_b.rows(slice(0, 96))[:, -1] * problem.b_a.values[-1]
    expected = one.footprints["srr"].values.reshape(96, -1) @ biosphere.flux.values.ravel() * 1e6
    np.testing.assert_allclose(added, expected, rtol=1e-9)
    assert "only an ensemble shows it" in finding(assembled, "fixed_flux")


def test_aircraft_and_towers_in_one_problem():
    n = 30
    track = xr.Dataset(
        {"ch4": ("time", np.where(np.arange(n) == 3, np.nan, 1960.0), {"units": "nmol mol-1"}),
         "longitude": ("time", np.linspace(109, 116, n)), "latitude": ("time", np.linspace(28, 32, n)),
         "height": ("time", np.full(n, 800.0)), "flight": ("time", np.repeat("f1", n))},
        {"time": START + 2 * DAY + np.arange(n) * np.timedelta64(60, "s")},
    )  # fmt: skip
    obs = from_track(track, "ch4", uncertainty=2.0)
    assert obs.sizes["obs"] == n - 1
    found = match(obs, [footprints(obs, named=False)], minutes=0.5)
    flight = Stream("ch4", "aircraft", found.observations, found.footprints, ErrorModel(5.0, 10.0, 0.2))
    assembled = assemble([stream(), flight], [block()], {"ch4": Baseline(1940.0, 20.0)})
    assert set(assembled.problem.y["site"].values) == {"aaa ch4", "bbb ch4", "f1 ch4 aircraft"}
    assert assembled.problem.y_units == "nmol mol-1"
    assert assembled.problem.n_boundary == 1
    with pytest.raises(AssemblyError, match=r"'height' is missing"):
        from_track(track.drop_vars("height"), "ch4")
    with pytest.raises(AssemblyError, match="no 'ch4_uncertainty'"):
        from_track(track, "ch4")


def made_columns(n=6):
    level = np.array([0.0, 500, 1500, 4000, 9000, 20_000])
    shape = (n, level.size)
    weight = np.array([0.1, 0.2, 0.25, 0.25, 0.15, 0.05])
    return xr.Dataset(
        {
            "weight": (("obs", "level"), np.broadcast_to(weight, shape), {"units": "1"}),
            "averaging_kernel": (("obs", "level"), np.full(shape, 0.9), {"units": "1"}),
            "profile_prior": (("obs", "level"), np.full(shape, 1800e-9), {"units": "mol mol-1"}),
            "height": (("obs", "level"), np.broadcast_to(level, shape).copy(), {"units": "m"}),
            "column": ("obs", np.full(n, 1890e-9), {"units": "mol mol-1"}),
            "column_error": ("obs", np.full(n, 10e-9), {"units": "mol mol-1"}),
            "time": ("obs", START + DAY + np.arange(n) * HOUR),
            "longitude": ("obs", np.full(n, 112.0), {"units": "degrees_east"}),
            "latitude": ("obs", np.full(n, 30.0), {"units": "degrees_north"}),
        },
        attrs={"source": "made up", "gas": "ch4"},
    )


def test_columns_take_their_background_from_a_field_through_their_operator():
    X = made_columns()
    obs = from_columns(X, units="nmol mol-1")
    stack = columns.receptors(X, top=5000.0)
    levels = footprints(
        xr.Dataset(coords={n: ("obs", stack[n].values) for n in ("time", "longitude", "latitude", "height")}),
        named=False,
    )
    found = match(obs, [columns.footprints(X, stack, levels)])
    one = Stream("ch4", "column", found.observations, found.footprints, ErrorModel(5.0), columns=X)
    terms = Endpoints(field(1850e-9), 5.0).terms([one])
    np.testing.assert_allclose(terms.H_b @ terms.b_a, 0.9 * 1850 + 0.1 * 1800, rtol=1e-9)
    together = assemble([stream(ends=20), one], [block()], {"ch4": Endpoints(field(1850e-9), 5.0)})
    assert together.problem.n_obs == 96 + 6
    with pytest.raises(AssemblyError, match="Columns reach to the top of the air"):
        Baseline(1900.0, 5.0).terms([one])


def test_nan_in_a_footprint_is_refused_with_its_place():
    one = stream()
    values = one.footprints["srr"].values.copy()
    values[50, 3, 4] = np.nan
    broken = Stream(
        "ch4",
        "in situ",
        one.observations,
        one.footprints.assign(srr=one.footprints["srr"].copy(data=values)),
        one.error,
    )
    with pytest.raises(
        ProblemError, match=r"H is nan at obs 50 \(.*site bbb.*\).*look at the footprint of that observation"
    ):
        assemble([broken], [block()], {"ch4": Baseline(1940.0, 20.0)})
    with pytest.raises(AssemblyError, match=r"That of bbb at 2024-03-02T02:30 is not finite"):
        simple(broken)


def test_a_million_ppm_is_refused():
    obs = observations()
    values = obs["mole_fraction"].values.copy()
    values[7] = 1e9
    with pytest.raises(ProblemError, match=r"y holds 1 values that no air has, the first at obs 7.*1e\+09 nmol mol-1"):
        simple(stream(obs.assign(mole_fraction=obs["mole_fraction"].copy(data=values))))


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (96.0, "give it in the units of the observations"),
        (1.94, "it looks like umol mol-1"),
        (-5.0, "no air like that"),
        (0.0, "no air"),
    ],
)
def test_an_impossible_baseline_is_refused(value, hint):
    with pytest.raises(AssemblyError, match=f"prior background of ch4 is .*{hint}"):
        simple(background=Baseline(value, 20.0))


def test_a_singular_R_is_refused():
    nothing = stream(observations(uncertainty=0.0), error=ErrorModel(representation=0.0))
    with pytest.raises(CovarianceError, match="R: 96 of 96 variances are not positive"):
        simple(nothing)
    twice = observations(uncertainty=1e-9)
    twice = twice.assign_coords(time=("obs", np.repeat(twice["time"].values[::2], 2)))
    with pytest.raises(CovarianceError, match=r"R of aaa.*(condition number|positive definite)"):
        simple(stream(twice, error=ErrorModel(transport=10.0, correlation_hours=12.0)))
    with pytest.raises(AssemblyError, match="sigma is -1"):
        Sector("a", "ch4", flux(), sigma=-1.0)


def test_a_region_nobody_sees_is_named():
    one = stream()
    far = one.footprints["srr"].where(one.footprints["longitude"] < 116, 0.0).assign_attrs(one.footprints["srr"].attrs)
    blind = Stream("ch4", "in situ", one.observations, one.footprints.assign(srr=far), one.error)
    number = xr.DataArray(np.where(LONGITUDE < 116, "west", "east")[None, :].repeat(8, 0), coords=GRID.coords)
    assembled = assemble([blind], [block(where=basis.mask(number))], {"ch4": Baseline(1940.0, 20.0)})
    assert "sees anything of all in east: 1 of 2 regions stay at their prior" in finding(assembled, "no_sensitivity")
    posterior = solve.batch(assembled.problem)
    east = assembled.problem.x_a["region"].values == "east"
    np.testing.assert_allclose(posterior.stdev().values[east], 0.5)
    assert finding(simple(), "no_sensitivity") is None


def test_what_was_lost_and_left_out_is_said():
    obs = observations()
    fp = footprints(obs)
    found = match(obs, [fp.isel(receptor=slice(0, 60))])
    one = Stream("ch4", "in situ", found.observations, found.footprints, ErrorModel(5.0), {"footprints": found.counts})
    sector = Sector("bio", "ch4", flux(), hour=(0.0,) * 12 + (2.0,) * 12)
    assembled = assemble([one], [block(sector, where=tree(one, 4), length_km=200.0)], {"ch4": Baseline(1940.0, 20.0)})
    assert "36 of 96 in situ observations of ch4 have no footprint and were left out (bbb 36)" in finding(
        assembled, "no_footprint"
    )
    assert "changes within the day but the footprints of in situ observations" in finding(assembled, "daily_mean_flux")
    assert "4 regions (quadtree) for 80 cells leave out" in finding(assembled, "basis_truncation")
    counts = assembled.problem.provenance["observations"]["footprints of ch4 in situ"]
    assert counts == {"site": 0, "height": 0, "time": 36, "matched": 60}
    stored = solve.batch(assembled.problem).to_dataset()
    assert any("have no footprint" in str(sentence) for sentence in stored["finding"].values)


def test_all_faults_of_a_set_of_pieces_at_once():
    with pytest.raises(AssemblyError) as caught:
        assemble([co2()], [block(Sector("a", "ch4", flux()), Sector("a", "ch4", flux()))], {})
    text = str(caught.value)
    for part in (
        "co2 is observed but no sector emits it",
        "emits ch4, which is not observed",
        "co2 has no background",
        "'a' is there twice",
    ):
        assert part in text
    with pytest.raises(AssemblyError, match="increase"):
        block(edges=EDGES[::-1])
    with pytest.raises(AssemblyError, match="96 observations but 48 footprints"):
        Stream("ch4", "in situ", observations(), footprints(observations()).isel(receptor=slice(0, 48)))
    assert assemble([stream()], [block()], NOTHING).problem.n_boundary == 0
