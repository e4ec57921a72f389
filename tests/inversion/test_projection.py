"""Series continued: against a Kalman filter, and the coverage of the interval on draws."""

import numpy as np
import pytest

from inversion.inventory import InventoryError
from inversion.warning.projection import predict, project, responses


def kalman(y, sigma, v, steps, period=12, big=1e8):
    """The textbook recursion, started with a very wide prior."""
    size = 2 + (period - 1 if period > 1 else 0)
    F = np.zeros((size, size))
    F[:2, :2] = [[1, 1], [0, 1]]
    Q, h = np.diag([v["level"], v["slope"], *[0.0] * (size - 2)]), np.zeros(size)
    h[0] = 1
    if period > 1:
        F[2, 2:] = -1
        F[3:, 2:-1] += np.eye(period - 2)
        Q[2, 2], h[2] = v["season"], 1
    a, P = np.zeros(size), big * np.eye(size)
    means, variances = [], []
    for t in range(len(y) + steps):
        if t:
            a, P = F @ a, F @ P @ F.T + Q
        noise = v["noise"] + (sigma[t] ** 2 if t < len(y) and np.isfinite(y[t]) else 0.0)
        S = h @ P @ h + noise
        if t >= len(y):
            means.append(h @ a)
            variances.append(S)
        elif np.isfinite(y[t]):
            K = P @ h / S
            a, P = a + K * (y[t] - h @ a), P - np.outer(K, h @ P)
            P = 0.5 * (P + P.T)
    return np.array(means), np.array(variances)


@pytest.mark.parametrize("period", [1, 4, 12])
def test_it_is_the_kalman_filter(period):
    rng = np.random.default_rng(period)
    y = np.cumsum(rng.normal(size=60)) + 5 * np.sin(2 * np.pi * np.arange(60) / 12)
    y[[7, 20]] = np.nan
    sigma = rng.uniform(0.1, 1, 60)
    v = {"noise": 0.3, "level": 0.5, "slope": 0.01, "season": 0.05}
    got = predict(y, sigma, v, steps=8, period=period)
    mean, variance = kalman(y, sigma, v, 8, period)
    np.testing.assert_allclose(got.mean, mean, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(got.sigma**2, variance, rtol=1e-3)


def test_responses_are_those_of_the_recursion():
    """Season: γ_t = -Σ γ_{t-j} + ω_t, by the recursion itself."""
    omega = np.random.default_rng(0).normal(size=40)
    gamma = []
    for t in range(40):
        gamma.append(omega[t] - sum(gamma[max(0, t - 3) : t]))
    Phi = np.linalg.cholesky(responses(40, 4)["season"])
    np.testing.assert_allclose(Phi @ omega, gamma, atol=1e-8)


def simulated(rng, n, steps, v, period=12):
    z = rng.normal(size=(3, n + steps))
    level, slope, season, out = 100.0, 0.5, list(5 * np.sin(2 * np.pi * np.arange(11) / 12)), []
    for t in range(n + steps):
        level += slope + np.sqrt(v["level"]) * z[0, t]
        slope += np.sqrt(v["slope"]) * z[1, t]
        season.append(-sum(season[-(period - 1) :]) + np.sqrt(v["season"]) * z[2, t])
        out.append(level + season[-1] + np.sqrt(v["noise"]) * rng.normal())
    return np.array(out)


def covered(series, seed):
    rng = np.random.default_rng(seed)
    inside = []
    for i in range(series):
        v = {"noise": 1.0, "level": [0.02, 0.3, 1.0][i % 3], "slope": 0.001, "season": [0.001, 0.02][i % 2]}
        y = simulated(rng, 60, 6, v)
        got = project(y[:60], steps=6)
        inside.append((y[60:] >= got.lower) & (y[60:] <= got.upper))
    return np.mean(inside, axis=0)


def test_the_interval_covers_what_it_says():
    share = covered(40, 1)
    # The six months of a series hang together: 40 series, five σ of one month are 0.17.
    assert (share >= 0.78).all()
    assert 0.88 <= share.mean() <= 0.995


@pytest.mark.soak
def test_the_interval_covers_what_it_says_over_many_series():
    share = covered(300, 2)
    print(f"\ncoverage of the 95 % interval, 1 to 6 months ahead: {np.round(share, 3)}")
    assert share.mean() == pytest.approx(0.95, abs=0.03)


def test_an_interval_of_half_the_values_is_narrower():
    y = simulated(np.random.default_rng(5), 60, 0, {"noise": 1.0, "level": 0.3, "slope": 0.001, "season": 0.01})
    wide, narrow = project(y), project(y, level=0.5)
    np.testing.assert_allclose((narrow.upper - narrow.lower) / (wide.upper - wide.lower), 0.6745 / 1.95996, rtol=1e-3)
    assert (np.diff(wide.sigma) > 0).all()


def test_values_with_large_sigma_count_less():
    y = simulated(np.random.default_rng(6), 60, 0, {"noise": 0.1, "level": 0.01, "slope": 1e-5, "season": 1e-5})
    spoiled = y.copy()
    spoiled[-1] += 50
    sigma = np.zeros(60)
    sigma[-1] = 200.0
    np.testing.assert_allclose(project(spoiled, sigma, steps=3).mean, project(y[:-1], steps=4).mean[1:], atol=0.5)


def test_series_that_are_too_short():
    with pytest.raises(InventoryError, match="29 finite values with σ: at least 30"):
        project(np.arange(29.0))
    with pytest.raises(InventoryError, match="none infinite"):
        project(np.r_[np.arange(40.0), np.inf])
