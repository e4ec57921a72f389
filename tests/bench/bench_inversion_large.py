"""Inversions that are large for a small machine: one JSON object a line, peak memory beside what it must fit into.

Each runs once, in a process of its own; `seconds` are those of the solution, its covariances and, for the variational
one, its diagnostics.
"""

import json
import subprocess
import sys
from pathlib import Path

LIMIT_GB = 4.0


def large(name):
    """Run a case by itself."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.inversion_cases", name],
        cwd=Path(__file__).parents[2],
        check=True,
        capture_output=True,
        text=True,
    )
    facts = json.loads(done.stdout)
    peak = facts.pop("peak_gb")
    figure = {"name": f"inversion.{name}", "value": peak, "unit": "GB", "reference": "the memory it must fit into"}
    print(json.dumps({**figure, "reference_value": LIMIT_GB, "ratio": round(peak / LIMIT_GB, 3), **facts}), flush=True)


def main():
    for name in ("kronecker_2000_60000", "variational_1e6", "kronecker_20000_60000"):
        large(name)


if __name__ == "__main__":
    main()
