"""Twin experiments: calibrated where truth is as assumed; where it is not, the inversion's own diagnostics say so."""

import json

import numpy as np
import pytest
import xarray as xr

from inversion import Problem, solve, twins
from inversion.covariance import Diagonal
from inversion.findings import Grade
from inversion.resolution import resolution
from inversion.solve.batch import FORMS
from inversion.totals import increments
from tests.inversion import twin_world
from tests.inversion.cases import problem

SOAK = pytest.param(200, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])


@pytest.fixture(scope="module")
def network():
    """Posterior of the made-up network, and its provinces."""
    case, W, _ = twin_world.case()
    return solve.batch(case), W


def shown(result):
    print("\n".join(twins.lines(result)))
    return {finding.code: finding for finding in twins.judge(result)}


def off(result):
    """Departure of the whitened χ² from nominal, in standard errors."""
    return (result.attrs["whitened_chi2"] - 1) / result.attrs["whitened_chi2_stderr"]


# --- calibration, and its loss -----------------------------------------------------------------


@pytest.mark.parametrize("draws", [30, SOAK])
def test_honest_twins_are_calibrated_and_the_diagnostics_silent(network, draws):
    result = twins.run(*network, rng=np.random.default_rng(8), draws=draws)
    found = shown(result)
    assert abs(off(result)) <= 3
    assert set(found) == {"twin_coverage"}
    assert found["twin_coverage"].grade is Grade.INFORM
    assert float(result.reported.mean()) < 0.25
    # Binomial, draws of seen provinces taken for half as many independent ones.
    assert result.attrs["coverage68"] == pytest.approx(0.68, abs=3 * np.sqrt(0.68 * 0.32 / (7 * draws)))
    assert result.attrs["coverage95"] == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / (7 * draws)))


@pytest.mark.parametrize("draws", [30, SOAK])
def test_other_winds_and_boundary_layers_cost_coverage_and_the_diagnostics_report_it(network, draws):
    result = twins.run(*network, rng=np.random.default_rng(8), draws=draws, nature=twin_world.wrong_weather())
    found = shown(result)
    assert off(result) > 3
    assert result.attrs["coverage68"] < 0.5
    assert found["twin_coverage"].grade is Grade.WARN
    assert "twin_reported" in found
    share = result.found.mean("draw").to_series()
    assert (share[["chi2", "prior_fit", "residual_correlation", "site_fit", "left_out", "desroziers"]] > 0.8).all()


@pytest.mark.parametrize("draws", [30, SOAK])
@pytest.mark.parametrize(("relative", "word"), [(0.6, "small"), (0.15, "large")])
def test_a_wrong_b_is_reported(network, draws, relative, word):
    wider = twins.Nature(
        name=f"with {relative / 0.3:g} times the prior errors", B=twin_world.prior(relative=relative)[1]
    )
    result = twins.run(*network, rng=np.random.default_rng(8), draws=draws, nature=wider)
    found = shown(result)
    assert (off(result) > 3) if word == "small" else (off(result) < -3)
    assert f"too {word}" in found["twin_coverage"].sentence
    assert "twin_reported" in found
    assert float(result.found.sel(rule="prior_fit").mean()) > 0.9


def test_a_result_with_wrong_winds_says_so_itself_and_an_honest_one_does_not(network):
    """One draw each, its findings as they would travel."""
    posterior, _ = network
    rng = np.random.default_rng(5)
    codes = {}
    for nature in (twins.Nature(), twin_world.wrong_weather()):
        (draw,) = nature.draw(posterior.problem, 1, rng)
        (twin,) = twins.replay(posterior, draw.y)
        codes[nature.name] = {f.code for f in twin.findings if f.grade is Grade.WARN}
    assert codes["as the inversion assumes"] == set()
    assert {"chi2", "prior_fit", "site_fit", "left_out", "desroziers"} <= codes["with other winds and boundary layers"]


def test_an_error_the_inversion_cannot_notice_is_said_to_be(network):
    """Layers a tenth too deep in the inversion scale all fluxes: fitted well, wrong, and within what B allows."""
    posterior, W = network
    weather = twins.perturbed(
        twin_world.weather(), np.random.default_rng(0), twins.WeatherError(0.0, 0.0, 0.0, layer_factor=0.9)
    )
    shallow = twins.Nature(name="with layers a tenth shallower", H=twin_world.sensitivities(weather))
    result = twins.run(posterior, W, rng=np.random.default_rng(8), draws=40, nature=shallow)
    found = twins.judge(result)
    assert [f.code for f in found] == ["twin_coverage", "twin_bias", "twin_silent"]
    assert {f.grade for f in found} == {Grade.WARN}
    assert float(result.bias[result.counted].min()) > 0


def test_provinces_as_single_states_pay_for_their_patterns(network):
    """Truth on the grid, inverted as one factor a province: the pattern inside is taken for certain."""
    posterior, W = network
    case = posterior.problem
    pattern = twin_world.pattern()
    part = W.values @ pattern
    sigma = posterior.prior_stdev(W).values / part.sum(axis=1)
    coarse = Problem(
        **{name: getattr(case, name) for name in ("y", "R", "H_b", "b_a", "B_b")},
        H=case.H.matvec(pattern),
        x_a=xr.DataArray(np.ones(len(sigma)), dims="state", attrs={"units": "1"}),
        B=Diagonal(sigma**2),
        b_units="mol mol-1",
    )
    totals = xr.DataArray(part, dims=("region", "state"), coords={"region": W.region.values}, attrs=W.attrs)
    fine = twins.Nature("on a grid", x_a=case.x_a.values, B=case.B, H=case.H, aggregate=W)
    result = twins.run(coarse, totals, rng=np.random.default_rng(8), draws=30, nature=fine)
    found = shown(result)
    assert off(result) > 3
    assert "twin_reported" in found


# --- the tool ----------------------------------------------------------------------------------

SHAPES = [{"n": 40, "p": 4, "q": 3, "boundary": 3}, {"n": 10, "p": 5, "q": 4, "boundary": 0}]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shape", SHAPES, ids=["more observations", "more states"])
def test_replayed_posteriors_equal_those_solved_again(shape, form):
    rng = np.random.default_rng(3)
    case, _ = problem(rng, **shape)
    Y = case.y.values[:, None] + rng.normal(size=(case.n_obs, 3))
    for k, twin in enumerate(twins.replay(solve.batch(case, form=form), Y)):
        again = Problem(
            **{name: getattr(case, name) for name in ("H", "R", "x_a", "B", "H_b", "b_a", "B_b")},
            y=case.y.copy(data=Y[:, k]),
        )
        fresh = solve.batch(again, form=form)
        near = {"rtol": 1e-9, "atol": 1e-9}
        np.testing.assert_allclose(twin.mean, fresh.mean, **near)
        np.testing.assert_allclose(twin.residual, fresh.residual, **near)
        np.testing.assert_allclose(twin.stdev(), fresh.stdev(), **near)
        for name in ("chi2", "J_a", "J_a_state", "J_o", "dofs"):
            assert getattr(twin.diagnostics, name) == pytest.approx(getattr(fresh.diagnostics, name), rel=1e-8)
        assert [str(f) for f in twin.findings] == [str(f) for f in fresh.findings]
        xr.testing.assert_allclose(twin.by_site, fresh.by_site, rtol=1e-7)
        if case.n_boundary:
            np.testing.assert_allclose(twin.boundary, fresh.boundary, **near)


def test_replaying_leaves_the_posterior_as_it_was():
    case, _ = problem(np.random.default_rng(3), **SHAPES[0])
    posterior = solve.batch(case)
    mean, y, chi2 = posterior.mean.values.copy(), case.y.values.copy(), posterior.diagnostics.chi2
    list(twins.replay(posterior, case.y.values[:, None] + 1.0))
    np.testing.assert_array_equal(posterior.mean, mean)
    np.testing.assert_array_equal(case.y, y)
    assert posterior.solution.chi2 == chi2


def small():
    case, _ = problem(np.random.default_rng(2), n=60, p=4, q=3)
    W = xr.DataArray(
        np.kron(np.eye(4), np.ones(3)), dims=("region", "state"), coords={"region": list("ABCD")}, attrs={"units": "1"}
    )
    return case, W


def test_power_is_what_the_linear_algebra_says():
    """Honest draws: z of the departure from the prior is N(0, 1), and N(Γ_rr planted σ_r / √Δ_rr, 1) with the plant."""
    from scipy.stats import norm  # noqa: PLC0415  used here alone

    case, W = small()
    result = twins.run(case, W, rng=np.random.default_rng(1), draws=400, planted=2.0)
    posterior = solve.batch(case)
    M, S = posterior.prior_covariance(W).values, posterior.covariance(W).values
    gamma = (M - S) @ np.linalg.inv(M)
    shift = np.diagonal(gamma) * 2.0 * np.sqrt(np.diagonal(M)) / np.sqrt(np.diagonal(M - S))
    expected = norm.sf(1.96 - shift) + norm.cdf(-1.96 - shift)
    np.testing.assert_allclose(result.alarms, 0.05, atol=0.04)
    np.testing.assert_allclose(result.power, expected, atol=0.09)


def test_a_biased_prior_is_found():
    case, W = small()
    biased = twins.Nature(name="with a prior twice too high", x_a=np.full(12, 0.4))
    result = twins.run(case, W, rng=np.random.default_rng(1), draws=100, nature=biased)
    assert "twin_bias" in {f.code for f in twins.judge(result)}
    assert (result.bias > 0).all()


def test_noise_and_boundary_terms_that_are_not_those_assumed():
    case, W = small()
    for nature in (
        twins.Nature(name="with noise", R=Diagonal(np.full(60, 4.0))),
        twins.Nature(name="with another baseline", b_a=np.full(3, 25.0)),
        twins.Nature(name="with a wild baseline", B_b=Diagonal(np.full(3, 9.0))),
        twins.Nature(name="with other edges", H_b=lambda rng: rng.uniform(0, 2, size=(60, 3))),
    ):
        result = twins.run(case, W, rng=np.random.default_rng(1), draws=60, nature=nature)
        assert off(result) > 3, nature.name
        assert float(result.reported.mean()) > 0.5, nature.name


def test_the_result_is_a_plain_dataset(tmp_path):
    case, W = small()
    result = twins.run(case, W, rng=np.random.default_rng(1), draws=5)
    result.to_netcdf(tmp_path / "twins.nc")
    with xr.open_dataset(tmp_path / "twins.nc") as ds:
        assert twins.read_findings(ds) == twins.judge(result)
        assert ds.sizes["draw"] == 5
        np.testing.assert_allclose(ds["z"], (ds["estimate"] - ds["truth"]) / ds["posterior_stdev"], rtol=1e-12)
    again = twins.run(case, W, rng=np.random.default_rng(1), draws=5)
    xr.testing.assert_identical(result, again)  # nothing but the generator draws
    assert Problem(
        y=[1.0], H=[[1.0]], R=Diagonal([1.0]), x_a=[1.0], B=Diagonal([1.0]), y_units="1", x_units="1",
        findings=twins.read_findings(result),
    ).findings  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"draws": 1}, "2 or more"),
        ({"nature": twins.Nature(B=Diagonal([1.0]))}, "B has size 1, expected 12"),
        ({"nature": twins.Nature(H=np.ones((60, 2)))}, r"H has shape \(60, 2\)"),
        ({"nature": twins.Nature(b_a=np.ones(9))}, "b_a has size 9, expected 3"),
        ({"nature": twins.Nature(aggregate=np.ones((4, 2)))}, "needs x_a, B, H of its own"),
        (
            {"nature": twins.Nature(x_a=[1.0], B=Diagonal([1.0]), H=np.ones((60, 1)), aggregate=np.ones((1, 1)))},
            "1 rows, expected 4",
        ),
    ],
)
def test_what_does_not_fit_is_refused(arguments, words):
    case, W = small()
    with pytest.raises(twins.TwinError, match=words):
        twins.run(case, W, rng=np.random.default_rng(0), **arguments)


def test_nothing_seen_is_refused():
    case, _ = problem(np.random.default_rng(0), n=6, p=4, q=3, H=np.full((6, 12), 1e-9))
    with pytest.raises(twins.TwinError, match="nothing to count"):
        twins.run(case, np.eye(12), rng=np.random.default_rng(0))


# --- weather -----------------------------------------------------------------------------------


def test_errors_of_the_weather_have_the_size_they_state():
    met = twin_world.weather()
    error = twins.WeatherError(direction=15.0, speed=0.2, layer=0.4, hours=6.0, lasting=0.25, layer_factor=1.2)
    rng = np.random.default_rng(0)
    made = [twins.perturbed(met, rng, error) for _ in range(40)]
    before = np.arctan2(met.v.values, met.u.values)
    turned = np.array([np.angle(np.exp(1j * (np.arctan2(m.v.values, m.u.values) - before))) for m in made])
    speed = np.array([np.log(np.hypot(m.u, m.v) / np.hypot(met.u, met.v)) for m in made])
    layer = np.array([np.log(m.blh / met.blh / 1.2) for m in made])
    assert np.degrees(turned.std()) == pytest.approx(15, rel=0.1)
    assert speed.std() == pytest.approx(0.2, rel=0.1)
    assert layer.std() == pytest.approx(0.4, rel=0.1)
    lag = (layer[:, 1:] * layer[:, :-1]).mean() / layer.var()
    assert lag == pytest.approx(0.25 + 0.75 * np.exp(-1 / 6), abs=0.03)
    assert layer.mean(axis=1).var() == pytest.approx(0.25 * 0.4**2, rel=0.4)
    xr.testing.assert_identical(met, twin_world.weather())
    xr.testing.assert_identical(made[0].drop_vars(["u", "v", "blh"]), met.drop_vars(["u", "v", "blh"]))


def test_weather_without_errors_is_the_same_weather():
    met = twin_world.weather()
    same = twins.perturbed(met, np.random.default_rng(0), twins.WeatherError(0.0, 0.0, 0.0))
    xr.testing.assert_allclose(same, met, rtol=1e-12)


def test_weather_on_a_grid_errs_as_a_whole():
    met = twin_world.weather().rename(site="x").drop_vars("x")
    made = twins.perturbed(met, np.random.default_rng(0))
    ratio = (made.blh / met.blh).values
    np.testing.assert_allclose(ratio, ratio[:, :1] * np.ones(6))


@pytest.mark.parametrize("wrong", [{"speed": -1}, {"hours": 0}, {"lasting": 2}, {"layer_factor": 0}])
def test_errors_that_cannot_be(wrong):
    with pytest.raises(twins.TwinError, match=next(iter(wrong))):
        twins.WeatherError(**wrong)


def test_weather_without_a_layer_is_refused():
    with pytest.raises(twins.TwinError, match="blh missing"):
        twins.perturbed(twin_world.weather().drop_vars("blh"), np.random.default_rng(0))


# --- aggregates --------------------------------------------------------------------------------


def test_what_moved_is_distributed_as_stated():
    """Honest draws: the increments' χ² has its mean, and probabilities below 0.1 come up in a tenth."""
    case, W = small()
    posterior = solve.batch(case)
    S, M = posterior.covariance(W).values, posterior.prior_covariance(W).values
    result = twins.run(posterior, W, rng=np.random.default_rng(1), draws=300)
    moved = [increments(e - posterior.prior_total(W).values, S, M) for e in result.estimate.values]
    freedom = moved[0].freedom
    assert freedom == 4
    assert np.mean([m.chi2 for m in moved]) == pytest.approx(freedom, abs=4 * np.sqrt(2 * freedom / 300))
    assert np.mean([m.probability < 0.1 for m in moved]) == pytest.approx(0.1, abs=0.06)


def test_aggregates_say_what_was_seen_what_leaks_and_what_goes_together():
    """Two regions that are only seen together, one alone, one not at all."""
    H = np.zeros((40, 4))
    H[:20, 0] = H[:20, 1] = 1.0
    H[20:, 2] = 1.0
    case = Problem(
        y=np.r_[np.full(20, 2.0), np.full(20, 1.0)],
        H=H,
        R=Diagonal(np.full(40, 0.1)),
        x_a=np.ones(4),
        B=Diagonal(np.full(4, 0.25)),
        y_units="nmol mol-1",
        x_units="1",
    )
    W = xr.DataArray(np.eye(4), dims=("region", "state"), coords={"region": list("ABCD")}, attrs={"units": "kt yr-1"})
    said = resolution(solve.batch(case), W)
    assert float(said.seen[2]) > 0.95
    assert float(said.seen[3]) == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(said.kernel.values[0, :2], 0.5, atol=0.01)  # half of what it says of A comes from B
    assert int(said.leakage_from[0]) == 1
    assert float(said.leakage[0]) == pytest.approx(0.5, abs=0.01)
    assert float(said.correlation[0, 1]) < -0.95
    codes = {f["code"]: f["sentence"] for f in json.loads(said.attrs["findings"])}
    assert "A and B" in codes["aggregate_correlation"]
    assert "D (0.0%)" in codes["aggregate_unseen"]


def test_totals_that_move_too_far_are_named():
    case, W = small()
    x = np.ones(12)
    x[3:6] += 4.0  # region B
    twin = next(twins.replay(solve.batch(case), case.simulate(x).values[:, None]))
    (finding,) = [f for f in json.loads(resolution(twin, W).attrs["findings"]) if f["code"] == "increments"]
    assert "furthest B by +" in finding["sentence"]
    assert finding["grade"] == "warn"
