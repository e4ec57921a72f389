"""Benchmark of the generic tests on a million one-minute points: one JSON object a line.

``python -m tests.bench qc``. The same series, with faults put in by a fixed seed, goes through range, rate of change,
flat line, attenuated signal and spike tests of ours and of ioos_qc, each in a process of its own; rounds alternate,
figures are medians. ioos_qc lives in `.venv-compliance` (`.ci/compliance`); without it the reference is left out.

Precision and recall are by event: flagged minutes within half an hour of each other are one; an event counts as found
where it meets a fault, a fault where an event meets it. There, sizes are multiples of the noise of a minute (0.1 ppm).

``qc.precision``, ``qc.recall`` and ``qc.delay`` are those of the whole chain on a year of a row every three seconds
with labelled faults (`tests.qc.faults`), sizes in multiples of the noise of a row.
"""

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from tests.qc import faults
from tests.servers import throwaway_folder

ROUNDS = 5
POINTS = 1_000_000
NOISE = 0.1
SIZES = (3, 5, 8, 12, 20)
ROOT = Path(__file__).parents[2]
PEER = ROOT / ".venv-compliance/bin/python"
PREAMBLE = """
import json, sys, time
import numpy as np
def kilobytes(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))
data = np.load(sys.argv[1])
t, x = data["time"], data["value"]
"""
TIMED = """
open("/proc/self/clear_refs", "w").write("5")  # the peak from here on
base = kilobytes("VmRSS")
begin = time.perf_counter()
flags = tests(t, x)
seconds = time.perf_counter() - begin
peak = kilobytes("VmHWM")
np.save(sys.argv[2], flags)
print(json.dumps({"seconds": seconds, "memory_mb": (peak - base) * 1024 / 1e6}))
"""
OURS = """
from qc import generic, ranges, spikes
def tests(t, x):
    outcomes = [
        ranges.flags(x, ranges.Range(bad=(300.0, 1000.0), suspect=(380.0, 700.0))),
        generic.rate(t, x, suspect=60.0, bad=300.0),
        generic.flat_line(t, x, tolerance=1e-3, suspect_seconds=900, bad_seconds=3600),
        generic.attenuation(t, x, window_seconds=21600, suspect=0.02),
    ]
    spike = spikes.rebs(t, x, beta=5.0)[0]
    return (generic.worst(*outcomes) >= 3) & np.isfinite(x) | spike
tests(t[:2000], x[:2000])
"""
THEIRS = """
from ioos_qc import qartod
def tests(t, x):
    s = t.astype("datetime64[ns]")
    outcomes = [
        qartod.gross_range_test(x, (300.0, 1000.0), (380.0, 700.0)),
        qartod.rate_of_change_test(x, s, 1.0, 5.0),
        qartod.flat_line_test(x, s, 900, 3600, 1e-3),
        qartod.attenuated_signal_test(x, s, 0.02, 0.01, test_period=21600),
        qartod.spike_test(x, 0.5, 2.0),
    ]
    return np.any([np.isin(np.asarray(o), (3, 4)) for o in outcomes], axis=0)
tests(t[:2000], x[:2000])
"""


def series():
    """Return time, value, and for each fault its first and last minute and its size."""
    rng = np.random.default_rng(6)
    minute = np.arange(POINTS)
    value = 420 + 6 * np.sin(minute / 1440 * 2 * np.pi) + 8 * np.sin(minute / 14_400 + 1)
    value += np.convolve(rng.normal(0, 0.02, POINTS), np.ones(300) / 17, mode="same") + rng.normal(0, NOISE, POINTS)
    known = []
    places = rng.permutation(np.arange(500, POINTS - 500, 600))
    for k, begin in enumerate(places[:1500]):
        size = SIZES[k % len(SIZES)]
        length = int(rng.integers(1, 31))
        value[begin : begin + length] += size * NOISE
        known.append((begin, begin + length - 1, size))
    for begin in places[1500:1560]:
        length = int(rng.integers(30, 120))
        value[begin : begin + length] = value[begin]
        known.append((begin, begin + length - 1, 0))
    return 1_767_225_600 * 10**9 + minute * 60 * 10**9, value, known


def score(flags, known, *, least):
    """Return precision and recall by event, over faults of at least a size (flat lines have none)."""
    wanted = [(a, b) for a, b, size in known if size == 0 or size >= least]
    flagged = np.flatnonzero(flags)
    if not flagged.size:
        return 0.0, 0.0
    breaks = np.flatnonzero(np.diff(flagged) > 30)
    events = list(zip(flagged[np.r_[0, breaks + 1]], flagged[np.r_[breaks, flagged.size - 1]], strict=True))
    truth = np.zeros(flags.size, bool)
    for a, b, _ in known:
        truth[max(a - 2, 0) : b + 3] = True
    right = sum(truth[a : b + 1].any() for a, b in events)
    found = sum(flags[a : b + 1].any() for a, b in wanted)
    return right / len(events), found / len(wanted)


def run(python, script, folder):
    out = folder / "flags.npy"
    done = subprocess.run(
        [python, "-c", PREAMBLE + script + TIMED, str(folder / "series.npz"), str(out)],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    return json.loads(done.stdout.splitlines()[-1]), np.load(out)


def main():
    moments, value, known = series()
    there = PEER.is_file()
    if not there:
        print("bench: ioos_qc is not there: .ci/compliance makes its environment", file=sys.stderr)
    with throwaway_folder() as folder:
        np.savez(folder / "series.npz", time=moments, value=value)
        ours, theirs = [], []
        for _ in range(ROUNDS):
            figures, flags = run(sys.executable, OURS, folder)
            ours.append(figures)
            if there:
                figures, their_flags = run(str(PEER), THEIRS, folder)
                theirs.append(figures)
    for name, unit in (("seconds", "s"), ("memory_mb", "MB")):
        value = statistics.median(figures[name] for figures in ours)
        figure = {"name": f"qc.{name}", "value": round(value, 3), "unit": unit}
        if there:
            limit = statistics.median(figures[name] for figures in theirs)
            figure |= {"reference": "ioos_qc, same data and tests", "reference_value": round(limit, 3)}
            figure["ratio"] = round(value / limit, 3)
        print(json.dumps(figure), flush=True)
    for place, name in enumerate(("precision", "recall")):
        for least in SIZES:
            figure = {
                "name": f"qc.minutes_{name}",
                "value": round(score(flags, known, least=least)[place], 4),
                "unit": "1",
            }
            figure |= {"faults": f"of {least} times the noise and more"}
            if there:
                figure |= {
                    "reference": "ioos_qc",
                    "reference_value": round(score(their_flags, known, least=least)[place], 4),
                }
            if place == 1 or least == SIZES[0]:
                print(json.dumps(figure), flush=True)
    year()


def year():
    """Print how the chain does on a year of faults."""
    begin = time.perf_counter()
    found = faults.quarters()
    of = f"{len(found.noticed)} faults in 364 days"
    print(json.dumps({"name": "qc.precision", "value": round(found.precision, 4), "unit": "1", "events": found.events}))
    above = {"name": "qc.recall", "value": round(found.recall(least=3.01), 4), "unit": "1"}
    print(json.dumps(above | {"faults": f"above 3 times the noise, and those without a size; {of}"}))
    for size in faults.SIZES:
        figure = {
            "name": "qc.recall",
            "value": round(found.recall(least=size, most=size, kind="spike"), 4),
            "unit": "1",
        }
        print(json.dumps(figure | {"faults": f"spikes of {size} times the noise"}))
    for kind in sorted({fault.kind for fault, _, _ in found.noticed}):
        delay = {"name": "qc.delay", "value": round(found.delay(kind), 1), "unit": "s", "kind": kind}
        print(json.dumps(delay | {"recall": round(found.recall(kind=kind), 4)}))
    print(
        json.dumps({"name": "qc.year_of_faults_seconds", "value": round(time.perf_counter() - begin, 1), "unit": "s"})
    )


if __name__ == "__main__":
    main()
