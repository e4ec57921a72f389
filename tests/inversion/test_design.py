"""What one more station would add: equal to solving the larger problem, and greedy where several are chosen."""

import itertools
import json

import numpy as np
import pytest
import xarray as xr

from inversion import Problem, solve, twins
from inversion.covariance import BlockDiagonal, Dense, Diagonal
from inversion.findings import Grade
from inversion.resolution import aggregate_names
from inversion.twins.design import Candidate, design, places, survey
from tests.inversion import twin_world
from tests.inversion.cases import problem, random_spd

SHAPES = [{"n": 40, "p": 4, "q": 3, "boundary": 3}, {"n": 10, "p": 5, "q": 4, "boundary": 2}]


def regions(m):
    W = np.random.default_rng(5).uniform(size=(3, m))
    return xr.DataArray(W, dims=("region", "state"), coords={"region": list("ABC")}, attrs={"units": "kt yr-1"})


def some(rng, case, count=4, k=6):
    return [
        Candidate(
            f"c{i}", H=rng.normal(size=(k, case.n_state)), R=Dense(random_spd(rng, k)),
            H_b=rng.uniform(0, 2, (k, case.n_boundary)),
        )
        for i in range(count)
    ]  # fmt: skip


def with_stations(case, chosen):
    """The larger problem, written down."""
    n, m = case.n_obs, case.n_state
    joint = case.joint().H.rows(slice(0, n))
    H = np.vstack([joint, *(np.hstack([c.H, c.H_b]) for c in chosen)])
    return solve.batch(
        Problem(
            y=np.zeros(len(H)),
            H=H[:, :m],
            R=BlockDiagonal([case.R, *(c.R for c in chosen)]),
            x_a=case.x_a,
            B=case.B,
            H_b=H[:, m:],
            b_a=case.b_a,
            B_b=case.B_b,
            y_units=case.y_units,
        )
    )


@pytest.mark.parametrize("shape", SHAPES, ids=["more observations", "more states"])
def test_it_equals_solving_the_larger_problem(shape):
    rng = np.random.default_rng(1)
    case, _ = problem(rng, **shape)
    W, candidates = regions(case.n_state), some(rng, case)
    result = design(case, candidates, W, pick=3)
    for i, candidate in enumerate(candidates):
        larger = with_stations(case, [candidate])
        assert float(result.dofs_with[i]) == pytest.approx(larger.diagnostics.dofs_state, rel=1e-8)
        np.testing.assert_allclose(result.stdev_with[i], larger.stdev(W), rtol=1e-8)
    chosen = [next(c for c in candidates if c.name == name) for name in result.chosen.values]
    for step in range(3):
        larger = with_stations(case, chosen[: step + 1])
        assert float(result.chosen_dofs[step]) == pytest.approx(larger.diagnostics.dofs_state, rel=1e-8)
        np.testing.assert_allclose(result.chosen_stdev[step], larger.stdev(W), rtol=1e-8)
    assert result["rank"].values[np.argmax(result.dofs_with.values)] == 1


def test_the_second_station_is_the_best_beside_the_first():
    """Two equally good twins and a third elsewhere: the second choice is not the twin of the first."""
    m = 4
    H = {"twin a": [1, 0, 0, 0], "twin b": [1, 0, 0, 0], "elsewhere": [0, 0.9, 0, 0]}
    case = Problem(
        y=[0.0], H=[[0, 0, 0, 1.0]], R=Diagonal([1.0]), x_a=np.ones(m), B=Diagonal(np.ones(m)), y_units="1", x_units="1"
    )
    candidates = [Candidate(name, np.array([row], float), Diagonal([0.01])) for name, row in H.items()]
    result = design(case, candidates, regions(m), pick=2)
    assert result["rank"].values.tolist() == [1, 2, 3]
    assert result.chosen.values.tolist() == ["twin a", "elsewhere"]


def test_greedy_is_near_the_best_pair():
    rng = np.random.default_rng(4)
    case, _ = problem(rng, **SHAPES[0])
    candidates = some(rng, case, count=5)
    result = design(case, candidates, regions(case.n_state), pick=2)
    best = max(with_stations(case, pair).diagnostics.dofs_state for pair in itertools.combinations(candidates, 2))
    before = float(result.dofs)
    assert best * (1 + 1e-9) >= float(result.chosen_dofs[-1]) >= before + 0.8 * (best - before)


def observed(longitude, latitude):
    """H, R and H_b of a mast of 100 m in the weather of the northern site."""
    place = {"north": (longitude, latitude, 100.0)}
    points = twin_world.receptors(place)
    H = twin_world.sensitivities(twin_world.weather().sel(site=["north"]), points)
    return H, Diagonal(np.full(len(H), twin_world.ERROR**2)), twin_world.baseline(points["time"].values)


def test_one_more_station_in_a_province():
    """Liaoning is seen least: a mast there takes a good part of its σ, one in Hunan nothing."""
    case, W, _ = twin_world.case()
    fractions = twin_world.fractions()
    candidates = [*survey(fractions, "CN-LN", 3, observed), *survey(fractions, "CN-HN", 1, observed)]
    result = design(case, candidates, W, by="CN-LN", pick=2)
    before = float(result.stdev.sel(region="CN-LN"))
    after = result.stdev_with.sel(region="CN-LN").values
    assert after[:3].min() < 0.7 * before
    assert after[3] > 0.95 * before
    assert result["rank"].values[3] == 4
    assert (result.stdev_with <= result.stdev * (1 + 1e-9)).all()
    assert (result.dofs_with > result.dofs).all()
    (finding,) = twins.judge_design(result)
    assert finding.sentence == json.loads(result.attrs["findings"])[0]["sentence"]
    assert "CN-LN" in finding.sentence
    print(finding.sentence)


def test_a_station_that_adds_nothing_is_said_to():
    case, _ = problem(np.random.default_rng(1), **SHAPES[0])
    blind = Candidate("blind", np.zeros((4, 12)), Diagonal(np.ones(4)), np.zeros((4, 3)))
    result = design(case, [blind], regions(12), by="B")
    assert float(result.dofs_with[0]) == pytest.approx(float(result.dofs))
    first = twins.judge_design(result)[0]
    assert first.code == "design_little"
    assert first.grade is Grade.WARN


def test_places_lie_in_the_province_and_apart():
    fractions = twin_world.fractions()
    spots = places(fractions, "CN-SD", 5)
    assert len(set(spots)) == 5
    for longitude, latitude in spots:
        assert float(fractions.country_fraction.sel(country="CN-SD", latitude=latitude, longitude=longitude)) >= 0.5
    assert len(places(fractions, "CN-TJ", 50)) < 50


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"pick": 0}, "pick is 0"),
        ({"by": "Z"}, "'Z', expected 'dofs' or one of A, B, C"),
        ({"candidates": ["c", "c"]}, "same name"),
        ({"candidates": ["c"], "H": np.ones((2, 5))}, r"H has shape \(2, 5\), expected \(2, 12\)"),
        ({"candidates": ["c"], "H_b": None}, r"H_b has shape \(2, 0\), expected \(2, 3\)"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, words):
    case, _ = problem(np.random.default_rng(1), **SHAPES[0])
    H, H_b = arguments.pop("H", np.ones((2, 12))), arguments.pop("H_b", np.ones((2, 3)))
    candidates = [Candidate(name, H, Diagonal(np.ones(2)), H_b) for name in arguments.pop("candidates", "ab")]
    with pytest.raises(twins.TwinError, match=words):
        design(case, candidates, regions(12), **arguments)


def test_a_place_in_no_province_is_refused():
    with pytest.raises(twins.TwinError, match="CN-XX"):
        places(twin_world.fractions(), "CN-XX", 1)


def test_a_total_that_is_known_without_observations_is_not_the_one_that_narrows():
    rng = np.random.default_rng(5)
    case, _ = problem(rng, **SHAPES[0])
    W = regions(case.n_state)
    W.values[0] = 0.0
    result = design(case, some(rng, case, count=2), W)
    said = "\n".join(twins.design_lines(result))
    assert "nan" not in said
    assert str(aggregate_names(result.stdev)[0]) + ": 0 to 0" not in said
