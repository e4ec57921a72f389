"""Run the benchmarks: `python -m tests.bench [FAMILY]…`, one JSON object a line.

A family is a module ``bench_FAMILY.py`` in this folder with a function ``main()`` that prints its figures.
Each runs in a process of its own, so that none inherits another's memory or threads.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]


def families():
    """Names of all families."""
    return sorted(path.stem.removeprefix("bench_") for path in FOLDER.glob("bench_*.py"))


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Run the benchmarks.")
    parser.add_argument("family", nargs="*", help=f"of {', '.join(families()) or 'none yet'}; default: all")
    wanted = parser.parse_args(argv).family or families()
    if unknown := sorted(set(wanted) - set(families())):
        parser.error(f"no family {', '.join(unknown)}; there are: {', '.join(families())}")
    failed = []
    for family in wanted:
        print(f"bench: {family} …", file=sys.stderr, flush=True)
        started = time.monotonic()
        script = f"from tests.bench import bench_{family} as module; module.main()"
        if subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode != 0:
            failed.append(family)
        print(f"bench: {family} took {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    if failed:
        sys.exit(f"bench: failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
