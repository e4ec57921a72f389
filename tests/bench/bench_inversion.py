"""Figures of the inversion: one JSON object a line (contract 5), medians of five alternating rounds.

Two compare with the same mathematics written down straightforwardly in numpy: the square-root form, and the Kronecker
formula; the second with fips too, given the same arrays in a process of its own (`.venv-compliance`, made by
`.ci/compliance`; without it the line says so). Cost: a table against n and m. Two workers: products with H on disk by
two processes of a Dask cluster against one, beside a loop that only counts. What is larger is the family
`inversion_large`.
"""

import gc
import json
import multiprocessing
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import dask.array
import numpy as np
import scipy.linalg
from distributed import Client, LocalCluster

from inversion import Problem, solve
from inversion.covariance import Dense, Diagonal, Kronecker, spatial, temporal
from inversion.jacobian import as_jacobian
from tests.bench.bench_transport import speed_up, spin
from tests.bench.inversion_cases import footprints, observed, places

ROUNDS = 5
PEER_ROUNDS = 2
PEER = Path(__file__).parents[2] / ".venv-compliance/bin/python"
UNITS = {"y_units": "nmol mol-1", "x_units": "1"}


def alternate(ours, reference):
    """Median seconds of both, run in turn."""
    seconds = {ours: [], reference: []}
    for _ in range(ROUNDS):
        for function, taken in seconds.items():
            gc.collect()
            start = time.perf_counter()
            function()
            taken.append(time.perf_counter() - start)
    return statistics.median(seconds[ours]), statistics.median(seconds[reference])


def line(name, ours, reference, text):
    value, limit = alternate(ours, reference)
    figure = {"name": name, "value": round(value, 4), "unit": "s", "reference": text}
    print(json.dumps({**figure, "reference_value": round(limit, 4), "ratio": round(value / limit, 3)}), flush=True)


def batch_2000_1000():
    """Mean, whole covariance and all diagnostics of a dense problem, against mean and covariance alone."""
    rng = np.random.default_rng(0)
    n, m = 2000, 1000
    H = 0.1 * rng.random((n, m))
    B = spatial(rng.uniform(100, 120, m), rng.uniform(20, 40, m), sigma=0.5, length_km=300).to_dense()
    r = np.full(n, 0.5)
    y = H.sum(axis=1) + np.sqrt(r) * rng.normal(size=n)

    def ours():
        problem = Problem(y=y, H=H, R=Diagonal(r), x_a=np.ones(m), B=Dense(B), **UNITS)
        posterior = solve.batch(problem)
        return posterior.mean.values, posterior.covariance().values, posterior.findings

    def square_root():
        L = np.linalg.cholesky(B)
        G = (H @ L) / np.sqrt(r)[:, None]
        C = np.linalg.cholesky(np.eye(m) + G.T @ G)
        x = 1 + L @ scipy.linalg.cho_solve((C, True), G.T @ ((y - H.sum(axis=1)) / np.sqrt(r)))
        V = scipy.linalg.solve_triangular(C, L.T, lower=True)
        return x, V.T @ V

    same(ours(), square_root())
    text = "numpy square-root form, mean and covariance without diagnostics"
    line("inversion.batch_2000_1000", ours, square_root, text)


def kronecker_2000_12000():
    """Mean, exact covariance of 31 provinces x 12 months, against the plain formula for the same."""
    rng = np.random.default_rng(1)
    n, p, q = 2000, 1000, 12
    m = p * q
    H = 0.01 * rng.random((n, m))
    space = spatial(rng.uniform(100, 120, p), rng.uniform(20, 40, p), sigma=0.5, length_km=300)
    months = temporal(30.0 * np.arange(q), length_days=60)
    W = np.kron(rng.random((31, p)), np.eye(q))
    r = np.full(n, 0.5)
    y = H.sum(axis=1) + np.sqrt(r) * rng.normal(size=n)
    A, C = space.to_dense(), months.to_dense()

    def ours():
        problem = Problem(y=y, H=H, R=Diagonal(r), x_a=np.ones(m), B=Kronecker(space, months), **UNITS)
        posterior = solve.batch(problem)
        return posterior.mean.values, posterior.covariance(W).values

    def kronecker(X):
        return np.matmul(A, np.matmul(X.reshape(-1, q), C).reshape(-1, p, q)).reshape(-1, m)

    def plain():
        HB = kronecker(H)
        S = HB @ H.T
        S[np.diag_indices(n)] += r
        L = np.linalg.cholesky(S)
        x = 1 + HB.T @ scipy.linalg.cho_solve((L, True), y - H.sum(axis=1))
        U = scipy.linalg.solve_triangular(L, HB @ W.T, lower=True)
        return x, kronecker(W) @ W.T - U.T @ U

    same(ours(), plain())
    line("inversion.kronecker_plain", ours, plain, "plain numpy Kronecker formula, same mean and 31 x 12 covariance")
    beside_fips(ours, {"H": H, "space": A, "months": C, "W": W, "r": r, "y": y})


def beside_fips(ours, arrays):
    """The same mean and covariance by fips, which forms B and the whole posterior covariance."""
    name = "inversion.kronecker_2000_12000"
    if not PEER.is_file():
        print(f"bench: {name}: fips is not there: .ci/compliance makes its environment", file=sys.stderr)
        return
    seconds, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "case.npz", **arrays)
        for _ in range(PEER_ROUNDS):
            begin = time.perf_counter()
            x, covariance = ours()
            seconds.append(time.perf_counter() - begin)
            done = subprocess.run(
                [PEER, "-c", FIPS, f"{folder}/case.npz", f"{folder}/result.npz"],
                check=True,
                capture_output=True,
                text=True,
            )
            theirs.append(json.loads(done.stdout.splitlines()[-1]))
        result = np.load(Path(folder) / "result.npz")
        same((x, covariance), (result["x"], result["covariance"]))
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            held = pool.apply(kronecker_memory, (f"{folder}/case.npz",))
    value, limit = statistics.median(seconds), statistics.median(one["seconds"] for one in theirs)
    figure = {"name": name, "value": round(value, 3), "unit": "s", "reference": "fips, same mean and covariance"}
    figure |= {"reference_value": round(limit, 3), "ratio": round(value / limit, 4), "wanted": 0.125}
    memory = {"memory_gb": round(held, 2), "reference_memory_gb": round(theirs[-1]["memory_gb"], 2)}
    print(json.dumps(figure | memory), flush=True)


def kronecker_memory(path):
    """Return the most memory a process takes for the case, input included [GB]."""
    case = np.load(path)
    n, m = case["H"].shape
    B = Kronecker(Dense(case["space"]), Dense(case["months"]))
    problem = Problem(y=case["y"], H=case["H"], R=Diagonal(case["r"]), x_a=np.ones(m), B=B, **UNITS)
    posterior = solve.batch(problem)
    assert posterior.covariance(case["W"]).shape[0] == len(case["W"])
    assert posterior.mean.size == m > n
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


FIPS = """
import json, resource, sys, time
import numpy as np
from fips.estimators import ESTIMATOR_REGISTRY
case = np.load(sys.argv[1])
H, W, y = case["H"], case["W"], case["y"]
begin = time.perf_counter()
S_0 = np.kron(case["space"], case["months"])
solved = ESTIMATOR_REGISTRY["bayesian"](y, np.ones(H.shape[1]), H, S_0, np.diag(case["r"]))
x, covariance = solved.x_hat, W @ solved.S_hat @ W.T
seconds = time.perf_counter() - begin
np.savez(sys.argv[2], x=x, covariance=covariance)
held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
print(json.dumps({"seconds": seconds, "memory_gb": held}))
"""


def two_workers():
    """Products with an H of 160 MB on disk, compressed, by clusters of one and of two processes."""
    n, m = 1000, 20_000
    with (
        tempfile.TemporaryDirectory() as folder,
        multiprocessing.get_context("spawn").Pool(2) as pool,
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as one,
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as two,
    ):
        store = str(Path(folder) / "H.zarr")
        dask.array.random.default_rng(0).random((n, m), chunks=(125, m)).to_zarr(store)

        def seconds(cluster):
            with Client(cluster):
                H = as_jacobian(dask.array.from_zarr(store))
                u = H.matvec(np.ones(m))
                begin = time.perf_counter()
                for _ in range(3):
                    H.matvec(H.rmatvec(u))
                return time.perf_counter() - begin

        pairs = [(seconds(one) / seconds(two), speed_up(pool, spin)) for _ in range(3)]
    value, limit = (statistics.median(column) for column in zip(*pairs, strict=True))
    figure = {"name": "inversion.two_workers", "value": round(value, 3), "unit": "1"}
    reference = {"reference": "a loop that only counts", "reference_value": round(limit, 3)}
    print(json.dumps({**figure, **reference, "ratio": round(value / limit, 3)}), flush=True)


def cost():
    """Seconds against n and m: mean, covariance of ten aggregates and diagnostics, by `batch` and by `variational`."""
    for n in (500, 2000, 4000):
        for m in (1000, 4000, 16_000):
            rng = np.random.default_rng(4)
            cells, steps = places(rng, m // 10), 10
            B = Kronecker(spatial(*cells, sigma=0.5, length_km=300), temporal(30.0 * np.arange(steps), length_days=60))
            H = footprints(rng, cells, n=n, steps=steps, seen=50)
            y = observed(rng, H, B, 0.5)
            problem = Problem(y=y, H=H, R=Diagonal(np.full(n, 0.25)), x_a=np.ones(m), B=B, **UNITS)
            W = rng.random((10, m)) / m
            seconds = []
            for solver in (solve.batch, solve.variational):
                begin = time.perf_counter()
                posterior = solver(problem)
                assert posterior.stdev(W).values.min() > 0
                assert posterior.diagnostics.dofs > 1
                seconds.append(time.perf_counter() - begin)
            ours, other = seconds
            figure = {"name": "inversion.cost", "value": round(ours, 3), "unit": "s", "n": n, "m": m}
            reference = {"reference": "variational, same problem", "reference_value": round(other, 3)}
            print(json.dumps({**figure, **reference, "ratio": round(ours / other, 3)}), flush=True)


def same(ours, reference):
    """Speed of something else is no figure."""
    for a, b in zip(ours, reference, strict=False):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9 * np.abs(b).max())


def main():
    batch_2000_1000()
    kronecker_2000_12000()
    cost()
    two_workers()


if __name__ == "__main__":
    main()
