"""Workers as jobs of Slurm for one command: ``python slurm.py --jobs 8 skyledger invert CONFIG.toml``.

Needs dask-jobqueue beside skyledger (``pip install dask-jobqueue``), and Dask's configuration: `jobqueue.yaml` and
`tls.yaml` beside this file. The command is given ``--scheduler ADDRESS`` at its end; its status is this program's.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

import dask.config
from dask_jobqueue import SLURMCluster
from distributed.security import Security


def cluster() -> SLURMCluster:
    """Return the cluster that the configuration describes: over TLS where `distributed.comm.tls` names certificates."""
    certified = dask.config.get("distributed.comm.tls.ca-file", None) is not None
    return SLURMCluster(security=Security(require_encryption=True) if certified else None)


def main() -> int:
    """Run a command beside its cluster."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="how many jobs to ask Slurm for")
    parser.add_argument("--script", action="store_true", help="only print the script of a job")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what to run, as `skyledger invert CONFIG.toml`")
    given = parser.parse_args()
    if not (given.command or given.script):
        parser.error("no command: expected one as `skyledger invert CONFIG.toml`")
    with cluster() as workers:
        if given.script:
            sys.stdout.write(workers.job_script())
            return 0
        workers.scale(jobs=given.jobs)
        command = [*given.command, "--scheduler", workers.scheduler_address]
        return subprocess.run(command, check=False).returncode  # noqa: S603  the user's own command


if __name__ == "__main__":
    sys.exit(main())
