"""An inversion from a configuration: files or the store in, posterior with its provenance out.

`read` a TOML file, `assemble` its pieces by `inversion.assemble`, `run` solves it and, where asked, its ensemble.
"""

from deploy.jobs.inversion.run import Member, Outcome, assemble, run, write, write_paris
from deploy.jobs.inversion.settings import Settings, read

__all__ = ["Member", "Outcome", "Settings", "assemble", "read", "run", "write", "write_paris"]
