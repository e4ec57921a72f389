"""Benchmark of the particle model: one JSON object a line.

``python -m tests.bench transport``. The case: particles from 200 m, 48 h back over the made-up meteorology with its
boundary layer by day and night, which is made within the time that is counted. Two workers: the same in two processes
at once, beside a loop that only counts, in two processes at once.
"""

import json
import multiprocessing
import resource
import statistics
import time

import numpy as np
import xarray as xr

from inversion.transport import analytic, particles

TIMES = np.arange("2026-06-01", "2026-06-13", dtype="datetime64[h]")
GRID = xr.Dataset(coords={"longitude": np.arange(95.25, 135, 0.5), "latitude": np.arange(20.25, 50, 0.5)})
ROUNDS = 5
SPIN = 30_000_000


def receptors(count):
    return xr.Dataset(
        {
            "time": ("receptor", TIMES[-1] - np.arange(count).astype("timedelta64[h]")),
            "longitude": ("receptor", np.full(count, 115.0)),
            "latitude": ("receptor", np.full(count, 33.0)),
            "height": ("receptor", np.full(count, 200.0)),
        }
    )


def case(count=1, n=1000, hours=48):
    """Return particle-hours a second, seconds, and the share of the particles' time within the layer."""
    begin = time.perf_counter()
    needed = TIMES[-(hours + count + 1) :]
    met = analytic.fields(needed, np.arange(95, 135.1, 0.5), np.arange(20, 50.1, 0.5))
    ds = particles.footprints(receptors(count), met, GRID, particles=n, hours_back=hours)
    seconds = time.perf_counter() - begin
    assert float(ds["srr"].sum()) > 0
    return count * n * hours / seconds, seconds, float(ds["layer_share"].mean())


def spin(_=0):
    """Count; returns seconds."""
    begin = time.perf_counter()
    number = 0
    while number < SPIN:
        number += 1
    return time.perf_counter() - begin


def work(_=0):
    return case(2)[1]


def memory(_=0):
    """Return the most this process has held [MB]."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def speed_up(pool, job):
    """Return how much faster two of a job are at once than one after the other."""
    alone = pool.apply(job)
    begin = time.perf_counter()
    pool.map(job, range(2), chunksize=1)
    return 2 * alone / (time.perf_counter() - begin)


def main():
    case(n=10)
    rounds = [case(4) for _ in range(ROUNDS)]
    rate, share = (statistics.median(one[k] for one in rounds) for k in (0, 2))
    figure = {"name": "transport.particle_hours_per_s", "value": round(rate), "unit": "1/s"}
    figure["share_of_time_in_layer"] = round(share, 3)
    print(json.dumps(figure | {"case": "48 h back from 200 m, meteorology made within", "wanted": 50_000}), flush=True)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(work, range(2), chunksize=1)
        pairs = [(speed_up(pool, work), speed_up(pool, spin)) for _ in range(3)]
        held = max(pool.map(memory, range(2), chunksize=1))
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    two = {
        "name": "transport.two_workers",
        "value": round(ours, 3),
        "unit": "1",
        "reference": "a loop that only counts",
    }
    print(json.dumps(two | {"reference_value": round(theirs, 3), "ratio": round(ours / theirs, 3)}), flush=True)
    print(json.dumps({"name": "transport.worker_memory_mb", "value": round(held), "unit": "MB"}), flush=True)
    _, seconds, _ = case(1, 1000, 240)
    print(
        json.dumps(
            {
                "name": "transport.footprints_per_hour",
                "value": round(3600 / seconds),
                "unit": "1/h",
                "case": "1000 particles, 10 days",
            }
        )
    )
    for count, n in ((1, 250), (1, 1000), (1, 4000), (4, 1000), (16, 250)):
        rate, seconds, _ = case(count, n)
        cost = {"name": "transport.cost", "value": round(seconds, 2), "unit": "s", "receptors": count, "particles": n}
        print(json.dumps(cost | {"particle_hours_per_s": round(rate)}), flush=True)
    print(json.dumps({"name": "transport.memory_mb", "value": round(memory()), "unit": "MB"}))


if __name__ == "__main__":
    main()
