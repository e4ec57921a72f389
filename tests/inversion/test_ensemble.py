"""The fixed-lag smoother against the batch solution, in windows, with few members and many."""

import importlib

import numpy as np
import pytest
import xarray as xr

from inversion import InversionError, Problem, solve
from inversion.covariance import BlockDiagonal, Dense, Diagonal, Kronecker, gaspari_cohn, spatial, temporal
from inversion.datasets import POSTERIOR
from inversion.findings import Grade
from inversion.solve.localisation import Localisation
from qc.schema import require
from tests.inversion.cases import random_spd

NEAR = Localisation(length_km=300)
PERIODS = np.array(["2024-01-01", "2024-02-01", "2024-03-01", "2024-04-01"], "datetime64[ns]")
LONGITUDE, LATITUDE = np.random.default_rng(1).uniform([100, 25], [120, 40], size=(4, 2)).T


def prior(labels, *, space_first=True, length_days=45.0):
    """Four places over months: x_a and B."""
    places, periods = LONGITUDE.size, labels.size
    space = spatial(LONGITUDE, LATITUDE, sigma=0.5, length_km=600)
    time = temporal(labels, length_days=length_days) if length_days else Diagonal(np.ones(periods))
    period, place = np.tile(labels, places), np.repeat(np.arange(places), periods)
    if not space_first:
        period, place = np.repeat(labels, places), np.tile(np.arange(places), periods)
    names = {
        "period": period,
        "region": place,
        "region_longitude": LONGITUDE[place],
        "region_latitude": LATITUDE[place],
    }
    x_a = xr.DataArray(np.ones(place.size), dims="state", coords={name: ("state", v) for name, v in names.items()})
    return x_a.assign_attrs(units="1"), Kronecker(space, time) if space_first else Kronecker(time, space)


def rolling(seed=0, *, space_first=True, correlated=True, boundary=2, length_days=45.0, n=48):
    """Two sites over four months; an observation sees its own month and the one before."""
    rng = np.random.default_rng(seed)
    x_a, B = prior(PERIODS, space_first=space_first, length_days=length_days)
    hours = [np.sort(rng.uniform(0, 24 * 120, n // 2)) for _ in range(2)]
    time = PERIODS[0] + (np.concatenate(hours) * 3600).astype("timedelta64[s]")
    window = np.searchsorted(PERIODS, time, "right") - 1
    month = np.searchsorted(PERIODS, x_a["period"].values)
    H = rng.uniform(0, 2, (n, x_a.size)) * np.isin(window[:, None] - month, [0, 1])
    H_b = rng.uniform(0.5, 1.5, (n, boundary))
    blocks = [Dense(0.3 * np.exp(-np.abs(t[:, None] - t) / 200) + 0.1 * np.eye(n // 2)) for t in hours]
    R = BlockDiagonal(blocks) if correlated else Diagonal(rng.uniform(0.2, 0.6, n))
    x = 1 + B.sqrt().matvec(rng.normal(size=x_a.size))
    values = H @ x + H_b @ (10 + 0.3 * rng.normal(size=boundary)) + R.sqrt().matvec(rng.normal(size=n))
    names = {"time": time, "site": ["abc", "xyz"], "longitude": [104.0, 117.0], "latitude": [28.0, 37.0]}
    coords = {name: ("obs", v if len(v) == n else np.repeat(v, n // 2)) for name, v in names.items()}
    return Problem(
        y=xr.DataArray(values, dims="obs", coords=coords, attrs={"units": "nmol mol-1"}), H=H, R=R, x_a=x_a, B=B,
        H_b=H_b, b_a=np.full(boundary, 10.0), B_b=Diagonal(np.full(boundary, 0.1)),
    )  # fmt: skip


@pytest.mark.parametrize("space_first", [True, False])
@pytest.mark.parametrize("correlated", [True, False])
def test_with_one_member_more_than_unknowns_it_is_the_batch_solution(space_first, correlated):
    case = rolling(space_first=space_first, correlated=correlated)
    found, exact = solve.ensemble(case, members=19, lag=4), solve.batch(case)
    near = {"rtol": 1e-8, "atol": 1e-8}
    W = np.random.default_rng(5).uniform(size=(3, 16))
    np.testing.assert_allclose(found.mean, exact.mean, **near)
    np.testing.assert_allclose(found.boundary, exact.boundary, **near)
    np.testing.assert_allclose(found.covariance(), exact.covariance(), **near)
    for name in ("total", "covariance", "gain", "averaging_kernel", "noise_covariance", "stdev", "variance_reduction"):
        np.testing.assert_allclose(getattr(found, name)(W), getattr(exact, name)(W), **near)
    for name in ("chi2", "J_a", "J_o", "dofs", "dofs_state", "dofs_boundary", "trace_squared"):
        assert getattr(found.diagnostics, name) == pytest.approx(getattr(exact.diagnostics, name), rel=1e-7)
    np.testing.assert_allclose(found.solution.influence(), exact.solution.influence(), **near)
    codes = [{f.code for f in posterior.findings} for posterior in (exact, found)]
    assert codes[0] <= codes[1]
    assert not {"sampling_error", "lag"} & codes[1]
    assert not found.sampling_error(W).any()


def test_freely_drawn_members_come_near_the_batch_solution_as_the_root_of_their_number(monkeypatch):
    def free(rng, size, others):
        draws = rng.standard_normal((size, others.shape[1]))
        return draws - draws.mean(axis=1, keepdims=True), False

    # The name is the function's in the package, so the module is fetched by its path.
    monkeypatch.setattr(importlib.import_module("inversion.solve.ensemble"), "_draws", free)
    case = rolling()
    exact = solve.batch(case)
    gaps = []
    for members in (200, 1800):
        runs = [solve.ensemble(case, members=members, lag=4, seed=seed) for seed in range(6)]
        gaps.append(np.sqrt(np.mean([((r.mean - exact.mean) / exact.stdev()) ** 2 for r in runs])))
        spread = np.array([r.stdev() / exact.stdev() - 1 for r in runs])
        stated = np.mean([r.sampling_error() / r.stdev() for r in runs])
        assert 0.1 * stated < np.sqrt((spread**2).mean()) < stated
    assert gaps[0] < 0.5
    assert gaps[1] == pytest.approx(gaps[0] / 3, rel=0.4)


@pytest.mark.parametrize("members", [12, 19])
@pytest.mark.parametrize("correlated", [True, False])
def test_window_by_window_is_all_at_once(members, correlated):
    """Three runs, each with one more month of states and observations than the last."""
    case = rolling(correlated=correlated)
    options = {"members": members, "lag": 3, "seed": 4}
    at_once = solve.ensemble(case, **options)
    after = None
    for months in (2, 3, 4):
        after = solve.ensemble(first_months(case, months), **options, after=after)
    np.testing.assert_allclose(after.mean, at_once.mean, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(after.covariance(), at_once.covariance(), rtol=1e-8, atol=1e-9)
    assert after.diagnostics.chi2 == pytest.approx(at_once.diagnostics.chi2, rel=1e-9)
    assert after.track.periods == at_once.track.periods


def first_months(case, months):
    """What was known after so many months."""
    labels = PERIODS[:months]
    states = np.flatnonzero(np.isin(case.x_a["period"], labels))
    end = PERIODS[months] if months < PERIODS.size else np.datetime64("2025-01-01")
    rows = np.flatnonzero(case.y["time"].values < end)
    R = case.R.to_dense()[np.ix_(rows, rows)]
    return Problem(
        y=case.y[rows], H=case.H.rows(slice(0, case.n_obs))[np.ix_(rows, states)], R=Dense(R), x_a=case.x_a[states],
        B=prior(labels)[1],
        H_b=case.H_b.rows(slice(0, case.n_obs))[rows], b_a=case.b_a, B_b=case.B_b,
    )  # fmt: skip


@pytest.mark.parametrize("members", [12, 19])
def test_a_later_run_may_leave_out_what_lies_before_the_lag(members):
    """With a B that knows time as exponential does, the month before says all that the earlier ones did."""
    case = rolling(correlated=False)
    options = {"members": members, "lag": 3, "seed": 4}
    whole = solve.ensemble(case, **options)
    before = solve.ensemble(first_months(case, 3), **options)
    short = last_months(case, 3)
    after = solve.ensemble(short, **options, after=before)
    same = np.isin(case.x_a["period"], PERIODS[1:])
    np.testing.assert_allclose(after.mean, whole.mean.values[same], rtol=1e-9)
    np.testing.assert_allclose(after.stdev(), whole.stdev().values[same], rtol=1e-9)
    assert after.track.periods == whole.track.periods


def last_months(case, months):
    """The last months' states, and the observations that see no others."""
    labels = PERIODS[-months:]
    states = np.flatnonzero(np.isin(case.x_a["period"], labels))
    rows = np.flatnonzero(case.y["time"].values >= PERIODS[-months + 1])
    every = slice(0, case.n_obs)
    return Problem(
        y=case.y[rows], H=case.H.rows(every)[np.ix_(rows, states)], R=Diagonal(case.R.diagonal()[rows]),
        x_a=case.x_a[states], B=prior(labels)[1], H_b=case.H_b.rows(every)[rows], b_a=case.b_a, B_b=case.B_b,
    )  # fmt: skip


def test_beyond_the_lag_a_state_stays_as_it_was():
    case = rolling()
    short, shorter = (solve.ensemble(first_months(case, months), members=19, lag=2) for months in (4, 3))
    early = np.isin(shorter.mean["period"], PERIODS[:2])
    assert early.sum() == 8
    kept = np.isin(short.mean["period"], PERIODS[:2])
    np.testing.assert_allclose(short.mean.values[kept], shorter.mean.values[early], rtol=1e-9)
    exact = solve.batch(case)
    assert np.abs(short.mean.values[kept] - exact.mean.values[kept]).max() > 1e-3


def test_months_that_know_nothing_of_each_other_need_no_lag():
    case = rolling(length_days=None, boundary=1, correlated=False)
    H = case.H.rows(slice(0, case.n_obs)).copy()
    own = (
        case.x_a["period"].values[None]
        == PERIODS[np.searchsorted(PERIODS, case.y["time"].values, "right") - 1][:, None]
    )
    alone = Problem(y=case.y, H=H * own, R=case.R, x_a=case.x_a, B=case.B)
    found, exact = solve.ensemble(alone, members=5, lag=1), solve.batch(alone)
    np.testing.assert_allclose(found.mean, exact.mean, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.stdev(), exact.stdev(), rtol=1e-9)


def test_the_seed_decides():
    case = rolling()
    first, same, other = (solve.ensemble(case, members=12, seed=s).mean.values for s in (1, 1, 2))
    assert (first == same).all()
    assert not np.allclose(first, other)


def wide(members, localisation, seed=0):
    """Fifty regions far apart, half of them seen, by a station of their own: all that ties them is chance."""
    rng = np.random.default_rng(17)
    longitude, once = np.linspace(-170, 170, 50), np.zeros(50, int)
    names = {"period": once, "region_longitude": longitude, "region_latitude": 0.0 * longitude}
    x_a = xr.DataArray(np.ones(50), dims="state", coords={name: ("state", v) for name, v in names.items()})
    names = {"window": once[::2], "longitude": longitude[::2], "latitude": 0.0 * longitude[::2]}
    y = xr.DataArray(1 + 2 * rng.normal(size=25), dims="obs", coords={name: ("obs", v) for name, v in names.items()})
    case = Problem(
        y=y, H=np.eye(50)[::2], R=Diagonal(np.full(25, 0.25)), x_a=x_a, B=Diagonal(np.ones(50)),
        y_units="nmol mol-1", x_units="1",
    )  # fmt: skip
    return solve.ensemble(case, members=members, localisation=localisation, seed=seed), solve.batch(case)


def test_localisation_cuts_what_is_chance():
    plain, exact = wide(20, None)
    local, _ = wide(20, Localisation(length_km=300))
    error = [np.sqrt((((r.mean - exact.mean) / exact.stdev()) ** 2).mean()) for r in (plain, local)]
    assert error[1] < 0.4
    assert error[0] > 3 * error[1]
    # Chance correlations take variance away that nothing has seen.
    assert plain.stdev().mean() < 0.75 * exact.stdev().mean()
    assert local.stdev().mean() == pytest.approx(float(exact.stdev().mean()), rel=0.05)
    codes = {f.code: f for f in plain.findings}
    assert codes["sampling_error"].grade is Grade.WARN
    assert "51 members" in codes["sampling_error"].sentence
    assert {f.code: f for f in local.findings}["sampling_error"].grade is Grade.INFORM
    np.testing.assert_allclose(plain.sampling_error() / plain.stdev(), 1 / np.sqrt(38))


def test_a_wide_reach_changes_nothing_and_an_observation_at_a_time_is_as_good_as_many():
    case = rolling()
    plain = solve.ensemble(case, members=19, lag=4)
    local = solve.ensemble(case, members=19, lag=4, localisation=Localisation(length_km=1e7, length_days=1e7))
    np.testing.assert_allclose(local.mean, plain.mean, rtol=1e-5)
    np.testing.assert_allclose(local.covariance(), plain.covariance(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("localisation", [None, Localisation(length_days=0.01)])
def test_localisation_in_time_leaves_the_past_alone(localisation):
    case = rolling()
    later, before = (
        solve.ensemble(first_months(case, months), members=19, lag=4, localisation=localisation) for months in (4, 3)
    )
    same = np.isin(later.mean["period"], PERIODS[:3])
    assert np.allclose(later.mean.values[same], before.mean.values, rtol=1e-9) == (localisation is not None)


@pytest.mark.parametrize("lag", [1, 2, 4])
def test_observations_at_once_or_one_after_another(lag, monkeypatch):
    case = rolling()
    at_once = solve.ensemble(case, members=19, lag=lag)
    monkeypatch.setattr(importlib.import_module("inversion.solve.ensemble"), "_BLOCK", 5)
    in_fives = solve.ensemble(case, members=19, lag=lag)
    np.testing.assert_allclose(in_fives.mean, at_once.mean, rtol=1e-9)
    np.testing.assert_allclose(in_fives.covariance(), at_once.covariance(), rtol=1e-8, atol=1e-10)
    assert in_fives.diagnostics.chi2 == pytest.approx(at_once.diagnostics.chi2, rel=1e-9)


def test_the_taper_is_smooth_and_ends():
    r = np.linspace(0, 3, 3001)
    rho = gaspari_cohn(r, 1.0)
    assert rho[0] == 1
    assert (rho[r >= 2] == 0).all()
    assert (np.diff(rho) <= 1e-12).all()
    assert np.abs(np.diff(rho, 2)).max() < 1e-5
    np.testing.assert_allclose(gaspari_cohn(np.array([0.5, 1.0, 1.5]), 1.0), [0.6848958, 5 / 24, 0.0164931], atol=1e-6)


def test_what_the_lag_cuts_is_said():
    found = solve.ensemble(rolling(), members=19, lag=1)
    (finding,) = [f for f in found.findings if f.code == "lag"]
    assert "before the lag of 1" in finding.sentence
    assert finding.grade is Grade.WARN


def test_the_dataset_meets_its_schema():
    ds = solve.ensemble(rolling(), members=12).to_dataset()
    require(ds, POSTERIOR)
    assert ds.attrs["members"] == 12
    assert ds.attrs["form"] == "ensemble"


def without(case, **changes):
    pieces = {
        "y": case.y,
        "H": case.H,
        "R": case.R,
        "x_a": case.x_a,
        "B": case.B,
        "H_b": case.H_b,
        "b_a": case.b_a,
        "B_b": case.B_b,
    }
    return Problem(**pieces | changes)


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        (lambda c: {"x_a": c.x_a.drop_vars("period")}, {}, "coordinate 'period'"),
        (lambda c: {"y": c.y.drop_vars("time")}, {}, "in which they fall"),
        (
            lambda c: {"x_a": c.x_a.assign_coords(period=("state", c.x_a["period"].values[::-1]))},
            {},
            "order the states",
        ),
        (lambda _: {"B": Dense(random_spd(np.random.default_rng(0), 16))}, {}, "order the states"),
        (lambda c: {"y": c.y.assign_coords(time=c.y["time"] - np.timedelta64(40, "D"))}, {}, "sees states of later"),
        (lambda _: {"R": Dense(random_spd(np.random.default_rng(0), 48))}, {}, "order the observations"),
        (lambda _: {}, {"members": 2}, "members is 2"),
        (lambda _: {}, {"lag": 0}, "lag 0"),
        (
            lambda c: {"x_a": c.x_a.drop_vars("region_longitude")},
            {"localisation": Localisation(length_km=1)},
            "'region_longitude'",
        ),
    ],
)
def test_what_cannot_be_smoothed_is_refused_in_words(change, options, words):
    case = rolling()
    with pytest.raises(InversionError, match=words):
        solve.ensemble(without(case, **change(case)), **{"members": 12, **options})


@pytest.mark.parametrize(
    ("options", "words"),
    [({"members": 13}, "13"), ({"lag": 2}, "lag"), ({"seed": 1}, "seed")],
)
def test_a_run_is_gone_on_from_with_the_same_settings(options, words):
    case = rolling()
    before = solve.ensemble(first_months(case, 2), members=12, lag=3)
    with pytest.raises(InversionError, match=words):
        solve.ensemble(case, **{"members": 12, "lag": 3, **options}, after=before)


def test_a_run_over_other_states_or_another_prior_is_not_gone_on_from():
    case = rolling()
    before = solve.ensemble(first_months(case, 2), members=12, lag=3)
    other = without(case, x_a=case.x_a.assign_coords(region=("state", case.x_a["region"].values + 10)))
    with pytest.raises(InversionError, match="unknowns of its periods are new"):
        solve.ensemble(other, members=12, lag=3, after=before)
    with pytest.raises(InversionError, match="another prior mean"):
        solve.ensemble(without(case, x_a=case.x_a + 1), members=12, lag=3, after=before)


@pytest.mark.parametrize("bad", [{"length_km": 0}, {"length_days": -1}])
def test_a_reach_that_cannot_be_is_refused(bad):
    with pytest.raises(InversionError, match="above zero"):
        Localisation(**bad)
