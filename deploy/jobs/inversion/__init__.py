"""An inversion from a configuration: files or the store in, posterior with its provenance out.

`read` a TOML file, `assemble` its pieces by `inversion.assemble`, `run` solves it and, where asked, its ensemble;
`twin_experiment` and `design` say what it is worth before there are observed values.
"""

from deploy.jobs.inversion.run import Member, Outcome, assemble, run, write, write_paris
from deploy.jobs.inversion.settings import Settings, read
from deploy.jobs.inversion.trials import design, places, twin_experiment

__all__ = [
    "Member",
    "Outcome",
    "Settings",
    "assemble",
    "design",
    "places",
    "read",
    "run",
    "twin_experiment",
    "write",
    "write_paris",
]
