"""Inverse problems of a stated size for the benchmark, each run in a process of its own: seconds and peak memory.

`python -m tests.bench.inversion_cases NAME` prints one JSON object.
"""

import json
import resource
import sys
import time

import numpy as np
import scipy.sparse

from inversion import Problem, solve
from inversion.covariance import Dense, Diagonal, Kronecker, spatial, temporal

UNITS = {"y_units": "nmol mol-1", "x_units": "1"}
PROVINCES, MONTHS = 31, 12


def footprints(rng, cells, *, n, steps, sectors=1, seen=150, back=2, sites=40):
    """Sparse H (n, sectors x cells x steps), in order of time: cells near a site, at the last few steps."""
    longitude, latitude = cells
    step, site = np.sort(rng.integers(0, steps, n)), rng.integers(0, sites, n)
    at = rng.integers(0, longitude.size, sites)
    distance = np.hypot(longitude[at][:, None] - longitude, latitude[at][:, None] - latitude)
    around = np.argsort(distance, axis=1)[:, : min(4 * seen, longitude.size)]
    cell = around[site[:, None], rng.integers(0, around.shape[1], (n, seen))]
    value = 0.05 * np.exp(-distance[site[:, None], cell] / 3) * rng.exponential(size=(n, seen))
    column = cell * steps + np.maximum(step[:, None] - rng.integers(0, back, (n, seen)), 0)
    columns = np.concatenate([column + s * longitude.size * steps for s in range(sectors)], axis=1)
    values = np.tile(value / sectors, (1, sectors))
    rows = np.repeat(np.arange(n), seen * sectors)
    return scipy.sparse.csr_array(
        (values.ravel(), (rows, columns.ravel())), shape=(n, sectors * longitude.size * steps)
    )


def places(rng, number):
    """Longitudes and latitudes of cells."""
    return rng.uniform(100, 120, number), rng.uniform(20, 40, number)


def provinces(rng, cells, steps, sectors=1):
    """W (31, m): mean of each province over time and sectors."""
    centres = places(rng, PROVINCES)
    nearest = np.argmin(
        np.hypot(*(axis[:, None] - centre for axis, centre in zip(cells, centres, strict=True))), axis=1
    )
    m = sectors * nearest.size * steps
    rows = np.tile(np.repeat(nearest, steps), sectors)
    return scipy.sparse.csr_array((np.full(m, 1.0 / (steps * sectors)), (rows, np.arange(m))), shape=(PROVINCES, m))


def observed(rng, H, B, sigma):
    """Observations of a truth drawn from B."""
    x = 1 + B.sqrt().matvec(rng.normal(size=B.size))
    return H @ x + sigma * rng.normal(size=H.shape[0])


def kronecker(n, *, dense):
    """1000 cells x 60 months, space x time prior; mean and exact covariance of the last year, 31 provinces x 12."""
    rng = np.random.default_rng(1)
    cells, months = places(rng, 1000), 60
    m = 1000 * months
    B = Kronecker(spatial(*cells, sigma=0.5, length_km=300), temporal(30.0 * np.arange(months), length_days=60))
    H = 0.01 * rng.random((n, m)) if dense else footprints(rng, cells, n=n, steps=months)
    y = observed(rng, H, B, 0.7)
    W = np.kron(rng.random((PROVINCES, 1000)) / 1000, np.eye(months)[-MONTHS:])
    problem = Problem(y=y, H=H, R=Diagonal(np.full(n, 0.5)), x_a=np.ones(m), B=B, **UNITS)
    begin = time.perf_counter()
    posterior = solve.batch(problem, form="observation", memory_gb=4.0)
    covariance = posterior.covariance(W).values
    assert np.linalg.eigvalsh(covariance).min() > 0
    return time.perf_counter() - begin, {"chi2_reduced": round(posterior.solution.chi2 / n, 3)}


def variational(n, *, sectors, cells, steps):
    """Mean, covariance of 31 provinces with its bounds, all diagnostics."""
    rng = np.random.default_rng(2)
    where = places(rng, cells)
    H = footprints(rng, where, n=n, steps=steps, sectors=sectors, seen=50, back=4)
    together = Dense(0.7 * np.eye(sectors) + 0.3)
    B = Kronecker(together, spatial(*where, sigma=0.5, length_km=200), temporal(7.0 * np.arange(steps), length_days=30))
    y = observed(rng, H, B, 0.5)
    problem = Problem(y=y, H=H, R=Diagonal(np.full(n, 0.25)), x_a=np.ones(B.size), B=B, **UNITS)
    W = provinces(rng, where, steps, sectors)
    begin = time.perf_counter()
    posterior = solve.variational(problem, aggregate=W, reduction=1e-4, memory_gb=4.0, probes=4)
    found = posterior.stdev(W)
    solved = time.perf_counter() - begin
    d, solution = posterior.diagnostics, posterior.solution
    return time.perf_counter() - begin, {
        "without_diagnostics_s": round(solved, 1),
        "vectors": solution.process.count,
        "gradient": float(f"{solution.distance / solution.prior_gradient():.1e}"),
        "stdev_too_large_by_at_most": round(found.attrs["stdev_too_large_by_at_most"], 3),
        "dofs": round(d.dofs, 1),
        "dofs_error": round(solution.trace_error, 1),
        "J_a": round(d.J_a, 1),
        "chi2_reduced": round(d.chi2_reduced, 3),
    }


CASES = {
    "kronecker_2000_60000": lambda: kronecker(2000, dense=True),
    "kronecker_20000_60000": lambda: kronecker(20_000, dense=False),
    "variational_1e6": lambda: variational(50_000, sectors=4, cells=1000, steps=250),
    "variational_1e4": lambda: variational(500, sectors=2, cells=100, steps=50),
}


def main(name):
    seconds, facts = CASES[name]()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(json.dumps({"seconds": round(seconds, 1), "peak_gb": round(peak, 2), **facts}))


if __name__ == "__main__":
    main(sys.argv[1])
