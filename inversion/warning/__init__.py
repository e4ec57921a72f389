"""Early warning: a rolling inversion laid beside express estimates, month by month, and what comes next.

`watch` compares one window and says which regions part beyond the joint uncertainty, `rolling` goes through the months:
`rolling(windows(crosscheck.read_periods("flux.nc"), express(...)))`. `twins.Experiment` measures how often either warns
without cause, `projection.project` continues a series with interval, `outlook` the months of an inversion.
"""

from inversion.warning.projection import Projection, project
from inversion.warning.rule import Rule
from inversion.warning.twins import Experiment
from inversion.warning.watch import Comparison, by_month, rolling, watch, watch_arrays
from inversion.warning.windows import months_of, outlook, windows

__all__ = [
    "Comparison",
    "Experiment",
    "Projection",
    "Rule",
    "by_month",
    "months_of",
    "outlook",
    "project",
    "rolling",
    "watch",
    "watch_arrays",
    "windows",
]
