"""R-hat and effective sample size against what is known of independent and of correlated draws."""

import numpy as np
import pytest

from inversion import InversionError
from inversion.convergence import Convergence, converged, ess, judge_chains, plain_ess, rhat
from inversion.findings import Grade


def chains(rho, *, k=40, chains=4, draws=1000, seed=0):
    """First-order autoregressive chains of variance one."""
    rng = np.random.default_rng(seed)
    x = np.empty((chains, draws, k))
    x[:, 0] = rng.normal(size=(chains, k))
    for i in range(1, draws):
        x[:, i] = rho * x[:, i - 1] + np.sqrt(1 - rho**2) * rng.normal(size=(chains, k))
    return x


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9, -0.4])
def test_the_size_is_that_of_an_autoregressive_chain(rho):
    expected = 4000 * (1 - rho) / (1 + rho)
    assert plain_ess(chains(rho)).mean() == pytest.approx(expected, rel=0.1)


def test_the_standard_error_of_a_mean_is_what_the_size_says():
    draws = chains(0.8, k=400)
    error = draws.std(axis=(0, 1)) / np.sqrt(plain_ess(draws))
    scores = draws.mean(axis=(0, 1)) / error
    assert scores.std() == pytest.approx(1, abs=0.12)


def test_chains_that_agree_have_an_r_hat_of_one():
    draws = chains(0.3)
    assert (np.abs(rhat(draws) - 1) < 0.01).all()
    assert ((ess(draws) > 800) & (ess(draws) < 4000)).all()


def shifted(draws):
    return draws + np.arange(4)[:, None, None] * 0.5


def wider(draws):
    return 10 + draws * np.array([1, 1, 1, 3])[:, None, None]


def drifting(draws):
    return draws + 2 * np.linspace(0, 1, draws.shape[1])[:, None]


@pytest.mark.parametrize("change", [shifted, wider, drifting])
def test_chains_that_do_not_agree_are_found(change):
    assert (rhat(change(chains(0.3))) > 1.03).all()


@pytest.mark.parametrize("change", [shifted, drifting])
def test_where_they_stand_apart_the_draws_are_worth_little(change):
    assert (ess(change(chains(0.3))) < 100).all()


def test_ranks_bear_tails_that_have_no_variance():
    cauchy = np.random.default_rng(1).standard_cauchy((4, 1000, 20))
    assert (rhat(cauchy) < 1.01).all()
    apart = cauchy + 2 * np.arange(4)[:, None, None]
    assert (rhat(apart) > 1.1).all()


def test_what_does_not_vary_has_not_converged():
    draws = np.dstack([chains(0.0, k=1), np.ones((4, 1000, 1))])
    found = converged(draws, ["a", "b"], 0)
    assert (found.rhat_of, found.ess_of, found.rhat, found.ess) == ("b", "b", np.inf, 0.0)


def test_the_worst_is_named():
    draws = np.dstack([chains(0.0, k=1), chains(0.95, k=1), shifted(chains(0.0, k=1))])
    found = converged(draws, ["a", "slow", "apart"], 3)
    assert found.rhat_of == "apart"
    assert found.ess_of == "apart"
    assert converged(draws[..., :2], ["a", "slow"], 0).ess_of == "slow"


GOOD = {"chains": 4, "draws": 1000, "rhat": 1.002, "rhat_of": "a", "ess": 1500.0, "ess_of": "b", "divergent": 0}


@pytest.mark.parametrize(
    ("change", "grades", "words"),
    [
        ({}, {"sampling": "inform"}, "agree"),
        ({"rhat": 1.02}, {"rhat": "warn"}, "R-hat of a is 1.020, expected 1.01"),
        ({"rhat": 1.2}, {"rhat": "refuse"}, "have not come together"),
        ({"rhat": np.inf}, {"rhat": "refuse"}, "inf"),
        ({"rhat": np.nan}, {"rhat": "refuse"}, "nan"),
        ({"ess": 300.0}, {"ess": "warn"}, "size of b is 300 of 4000, expected 400"),
        ({"ess": 20.0}, {"ess": "refuse"}, "worth too little"),
        ({"divergent": 10}, {"divergent": "warn"}, "10 of 4000 draws diverged"),
        ({"divergent": 400}, {"divergent": "refuse"}, "400 of 4000"),
        ({"rhat": 1.02, "ess": 300.0}, {"rhat": "warn", "ess": "warn"}, "R-hat"),
    ],
)
def test_convergence_is_judged_in_words(change, grades, words):
    found = judge_chains(Convergence(**GOOD | change))
    assert {f.code: f.grade for f in found} == {code: Grade(grade) for code, grade in grades.items()}
    assert words in found[0].sentence


@pytest.mark.parametrize("shape", [(4, 100), (4, 7, 2)])
def test_too_few_draws_are_refused(shape):
    with pytest.raises(InversionError, match="expected"):
        rhat(np.zeros(shape))
