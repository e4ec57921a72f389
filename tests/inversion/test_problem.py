"""What a problem accepts, and the sentences it refuses with."""

import dask.array
import numpy as np
import pytest
import scipy.sparse
import xarray as xr
from scipy.sparse.linalg import aslinearoperator

from inversion import Problem
from inversion.covariance import Dense, Diagonal
from inversion.errors import ProblemError
from inversion.findings import Grade
from inversion.jacobian import as_jacobian

N, M = 6, 3


def pieces(**changes):
    rng = np.random.default_rng(1)
    return {
        "y": rng.normal(size=N) + 10,
        "H": rng.normal(size=(N, M)),
        "R": Diagonal(np.ones(N)),
        "x_a": np.ones(M),
        "B": Diagonal(np.ones(M)),
        "y_units": "nmol mol-1",
        "x_units": "1",
        **changes,
    }


def labelled():
    base = pieces()
    time = np.datetime64("2024-01-01", "ns") + np.arange(N) * np.timedelta64(1, "h")
    obs = {"time": ("obs", time), "site": ("obs", ["lan"] * N)}
    state = {"region": ("state", ["CN-ZJ", "CN-JS", "CN-SH"])}
    y = xr.DataArray(base["y"], dims="obs", coords=obs, attrs={"units": "nmol mol-1"})
    H = xr.DataArray(base["H"], dims=("obs", "state"), coords=obs | state, attrs={"units": "nmol mol-1"})
    x_a = xr.DataArray(base["x_a"], dims="state", coords=state, attrs={"units": "1"})
    return pieces(y=y, H=H, x_a=x_a, y_units=None, x_units=None)


def faults(**changes):
    with pytest.raises(ProblemError) as refusal:
        Problem(**pieces(**changes))
    return " ".join(refusal.value.faults)


def test_labels_and_units_come_from_the_arrays():
    given = labelled()
    problem = Problem(**given)
    assert problem.y_units == "nmol mol-1"
    assert list(problem.x_a["region"].values) == ["CN-ZJ", "CN-JS", "CN-SH"]
    assert (problem.n_obs, problem.n_state, problem.n_boundary) == (N, M, 0)
    np.testing.assert_allclose(problem.simulate(problem.x_a).values, given["H"].values.sum(axis=1))


def test_the_caller_s_arrays_are_not_changed():
    given = pieces(y=xr.DataArray(np.full(N, 5.0), dims="obs"))
    before = given["y"].copy()
    Problem(**given)
    xr.testing.assert_identical(given["y"], before)


@pytest.mark.parametrize("H_kind", ["array", "dask", "sparse", "operator", "dataarray of dask"])
def test_every_form_of_h_does_the_same(H_kind):
    H = np.random.default_rng(2).normal(size=(N, M))
    form = {
        "array": H,
        "dask": dask.array.from_array(H, chunks=(2, 2)),
        "sparse": scipy.sparse.csc_array(H),
        "operator": aslinearoperator(H),
        "dataarray of dask": xr.DataArray(dask.array.from_array(H, chunks=(4, 3)), dims=("obs", "state")),
    }[H_kind]
    jacobian = Problem(**pieces(H=form)).H
    rng = np.random.default_rng(3)
    for shape in ((), (4,)):
        V, U = rng.normal(size=(M, *shape)), rng.normal(size=(N, *shape))
        np.testing.assert_allclose(jacobian.matvec(V), H @ V, atol=1e-14)
        np.testing.assert_allclose(jacobian.rmatvec(U), H.T @ U, atol=1e-14)
    v, u = rng.normal(size=M), rng.normal(size=N)
    assert u @ jacobian.matvec(v) == pytest.approx(jacobian.rmatvec(u) @ v, rel=1e-12)  # the adjoint is the adjoint
    np.testing.assert_allclose(jacobian.rows(slice(2, 5)), H[2:5])


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("form", [np.asarray, dask.array.from_array, scipy.sparse.csr_array, aslinearoperator])
def test_a_number_that_is_none_in_h_is_named_with_its_place(value, form):
    H = np.ones((N, M))
    H[4, 2] = value
    assert as_jacobian(form(H)).place_of_nonfinite()[:2] == (4, 2)
    assert "obs 4" in faults(H=form(H))


def test_the_place_is_said_with_its_labels():
    given = labelled()
    given["H"] = given["H"].copy()
    given["H"][3, 1] = np.nan
    with pytest.raises(
        ProblemError, match=r"H is nan at obs 3 \(time 2024-01-01T03.*site lan\), state 1 \(region CN-JS\)"
    ):
        Problem(**given)


def test_all_faults_are_reported_at_once():
    text = faults(
        y=np.array([1.0, np.nan, 1, 1, 1, 1]),
        H=np.ones((N, 2)),
        R=np.eye(N),
        B=Dense(np.eye(4)),
        y_units=None,
        b_a=np.ones(1),
    )
    for part in ("y has 1 values", "H has shape (6, 2)", "R is a ndarray", "B has size 4", "units of y", "only b_a"):
        assert part in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"y": np.ones((2, 2))}, "y has shape"),
        ({"y": np.array(["a"] * N)}, "expected numbers"),
        ({"H": "nonsense"}, "expected two dimensions"),
        ({"H": np.array([["a"] * M] * N)}, "expected numbers"),
        ({"y": np.zeros(0), "H": np.zeros((0, M)), "R": Diagonal(np.ones(1))}, "no observations"),
        ({"y": np.full(N, 1e6), "y_units": "umol mol-1"}, "no air has"),
        ({"y": xr.DataArray(np.ones(N), dims="time")}, "rename"),
        ({"y": xr.DataArray(np.ones(N), dims="obs", attrs={"units": "umol mol-1"})}, "convert one"),
    ],
)
def test_impossible_input_is_refused_in_words(changes, words):
    assert words in faults(**changes)


def test_labels_in_another_order_are_refused():
    given = labelled()
    given["H"] = given["H"].isel(state=[1, 0, 2])
    with pytest.raises(ProblemError, match="disagree on 'region'"):
        Problem(**given)


def test_h_in_other_units_than_y_is_refused():
    given = labelled()
    given["H"] = given["H"].assign_attrs(units="mol mol-1")
    with pytest.raises(ProblemError, match="H is in 'mol mol-1'"):
        Problem(**given)


def test_a_transposed_h_is_refused_even_when_square():
    H = xr.DataArray(np.eye(3), dims=("state", "obs"))
    assert "transpose" in faults(y=np.ones(3), H=H, R=Diagonal(np.ones(3)))


def test_a_regularised_covariance_is_said():
    problem = Problem(**pieces(B=Dense(np.eye(M), nugget=0.01, name="B")))
    assert [(f.grade, f.code) for f in problem.findings] == [(Grade.INFORM, "regularised")]
