"""Cross-checks from a configuration: inversions beside ledgers, and the report in its states."""

from deploy.jobs.crosscheck.run import Outcome, assemble, run
from deploy.jobs.crosscheck.settings import Settings, read

__all__ = ["Outcome", "Settings", "assemble", "read", "run"]
