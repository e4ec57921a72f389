"""The ledger beside the sky: what an inversion says about an inventory, region by region.

`compare` makes the table, `with_range` adds the range over an ensemble of configurations, `total` sums rows of it,
`joint_sigma` says beforehand how large an error of a ledger would show. `trends` compares several periods,
`attribution` says which sectors a difference belongs to; `read_periods` and `read_sectors` read what they need from a
file. The formulas and where they come from are in `inversion.crosscheck.smoothing`.
"""

from inversion.crosscheck.attribution import Grouping, attribution, ledgers_by_sector, told_apart
from inversion.crosscheck.cells import stacked
from inversion.crosscheck.configurations import with_range
from inversion.crosscheck.planning import Design, joint_sigma
from inversion.crosscheck.reading import over_window, read_periods, read_sectors
from inversion.crosscheck.smoothing import CrosscheckError, Smoothed, compare_arrays, totals_kernel
from inversion.crosscheck.table import compare, total, totals
from inversion.crosscheck.trends import trends
from inversion.crosscheck.verdict import VERDICTS, Rule

__all__ = [
    "VERDICTS",
    "CrosscheckError",
    "Design",
    "Grouping",
    "Rule",
    "Smoothed",
    "attribution",
    "compare",
    "compare_arrays",
    "joint_sigma",
    "ledgers_by_sector",
    "over_window",
    "read_periods",
    "read_sectors",
    "stacked",
    "told_apart",
    "total",
    "totals",
    "totals_kernel",
    "trends",
    "with_range",
]
