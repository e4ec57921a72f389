"""H on disk: the same numbers on every scheduler, a block at a time, the adjoint is the adjoint."""

import contextlib
import tracemalloc

import dask
import dask.array
import numpy as np
import pytest
import scipy.sparse
import xarray as xr
from distributed import Client, LocalCluster
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import aslinearoperator

from inversion import Problem, solve
from inversion.covariance import Diagonal
from inversion.jacobian import Beside, as_jacobian
from tests.inversion.cases import random_kronecker

FORMS = {
    "array": np.asarray,
    "dask": lambda H: dask.array.from_array(H, chunks=(3, 4)),
    "dask of sparse": lambda H: dask.array.from_array(H, chunks=(3, -1)).map_blocks(scipy.sparse.csr_matrix),
    "dask of sparse, in columns": lambda H: dask.array.from_array(H, chunks=(5, 2)).map_blocks(scipy.sparse.csr_matrix),
    "sparse": scipy.sparse.csc_array,
    "operator": aslinearoperator,
    "beside": lambda H: Beside(as_jacobian(H[:, :1]), as_jacobian(scipy.sparse.csr_array(H[:, 1:]))),
}


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(2, 12), st.integers(0, 3), st.sampled_from([*FORMS]))
@settings(max_examples=120, deadline=None)
def test_every_form_multiplies_and_its_adjoint_is_the_adjoint(seed, n, m, width, form):
    rng = np.random.default_rng(seed)
    H = rng.normal(size=(n, m)) * (rng.random((n, m)) < rng.uniform(0, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inversion.jacobian.BLOCK_BYTES", 8 * m * 4)  # 4 rows a block
        with dask.config.set(scheduler="synchronous"):
            jacobian = as_jacobian(FORMS[form](H))
            shape = (width,) if width else ()
            v, u = rng.normal(size=(m, *shape)), rng.normal(size=(n, *shape))
            forward, back = jacobian.matvec(v), jacobian.rmatvec(u)
            assert np.vdot(u, forward) == pytest.approx(np.vdot(back, v), rel=1e-12, abs=1e-12)
            np.testing.assert_allclose(forward, H @ v, atol=1e-12)
            np.testing.assert_allclose(back, H.T @ u, atol=1e-12)
            part = slice(n // 3, n)
            np.testing.assert_array_equal(jacobian.rows(part), H[part])
            V = rng.normal(size=(m, 3))
            np.testing.assert_allclose(jacobian.part_matvec(part, V), H[part] @ V, atol=1e-12)


@pytest.mark.parametrize("wrap", [FORMS["dask"], FORMS["dask of sparse"]])
def test_a_place_is_found_in_any_chunk(wrap):
    H = np.ones((20, 8))
    H[17, 5] = np.nan
    assert as_jacobian(wrap(H)).place_of_nonfinite()[:2] == (17, 5)


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", processes=True) as running:
        yield running


@contextlib.contextmanager
def scheduler(name, cluster):
    if name == "cluster":
        with Client(cluster):
            yield
    else:
        with dask.config.set(scheduler=name):
            yield


def on_disk(folder, rng, n=150, m=120):
    """A problem whose H lies in a zarr store, in chunks of both dimensions."""
    H = rng.random((n, m))
    dask.array.from_array(H, chunks=(64, 50)).to_zarr(str(folder / "H.zarr"))
    return H, dask.array.from_zarr(str(folder / "H.zarr"))


def problem_with(H, n=150, m=120):
    rng = np.random.default_rng(5)
    B = random_kronecker(rng, 10, m // 10)
    y = xr.DataArray(m / 2 + 5 * rng.normal(size=n), dims="obs", coords={"site": ("obs", ["abc", "xyz"] * (n // 2))})
    return Problem(y=y, H=H, R=Diagonal(np.full(n, 2.0)), x_a=np.ones(m), B=B, y_units="nmol mol-1", x_units="1")


def test_every_scheduler_gives_the_same_numbers(tmp_path, cluster, monkeypatch):
    monkeypatch.setattr("inversion.jacobian.BLOCK_BYTES", 8 * 120 * 50)  # 50 rows a block
    H, stored = on_disk(tmp_path, np.random.default_rng(2))
    W = np.random.default_rng(3).random((3, 120))
    results = {}
    for name in ("synchronous", "threads", "cluster"):
        with scheduler(name, cluster):
            for solver, options in (
                (solve.batch, {"form": "observation"}),
                (solve.variational, {"vectors": 10, "probes": 0, "refine": 3}),
            ):
                posterior = solver(problem_with(stored), **options)
                d = posterior.diagnostics
                numbers = np.array([d.chi2, d.J_a, d.dofs, d.trace_squared, *(site.dofs for site in d.sites)])
                results[name, solver.__name__] = (posterior.mean.values, posterior.covariance(W).values, numbers)
    for name in ("threads", "cluster"):
        for solver in ("batch", "variational"):
            for ours, theirs in zip(results[name, solver], results["synchronous", solver], strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12 * np.abs(theirs).max())
    in_memory = solve.batch(problem_with(H))
    np.testing.assert_allclose(results["cluster", "batch"][0], in_memory.mean, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(results["cluster", "batch"][1], in_memory.covariance(W), rtol=1e-10, atol=1e-12)


def test_memory_is_that_of_blocks_not_of_h(monkeypatch):
    """H of 16 MB, made as it is asked for, in blocks of 0.8 MB."""
    n, m, rows = 2000, 1000, 100
    monkeypatch.setattr("inversion.jacobian.BLOCK_BYTES", 8 * m * rows)

    def generated(block_info=None):
        start = block_info[None]["array-location"][0][0]
        return np.sin(np.add.outer(np.arange(start, start + rows) * 0.1, np.arange(m) * 0.01)) + 1.0

    H = dask.array.map_blocks(generated, chunks=((rows,) * (n // rows), (m,)), dtype=float)
    with dask.config.set(scheduler="synchronous"):
        tracemalloc.start()
        case = Problem(
            y=np.full(n, m * 1.1),
            H=H,
            R=Diagonal(np.full(n, 50.0)),
            x_a=np.ones(m),
            B=Diagonal(np.full(m, 0.2)),
            y_units="nmol mol-1",
            x_units="1",
        )
        posterior = solve.variational(case, vectors=5, probes=0)
        assert posterior.diagnostics.dofs > 1
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 0.3 * 8 * n * m
