"""The ledger beside the sky: what an inversion says about an inventory, region by region.

`compare` makes the table, `with_range` adds the range over an ensemble of configurations, `total` sums rows of it,
`joint_sigma` says beforehand how large an error of a ledger would show. The formulas and where they come from are in
`inversion.crosscheck.smoothing`.
"""

from inversion.crosscheck.configurations import with_range
from inversion.crosscheck.planning import Design, joint_sigma
from inversion.crosscheck.smoothing import CrosscheckError, Smoothed, compare_arrays, totals_kernel
from inversion.crosscheck.table import compare, total, totals
from inversion.crosscheck.verdict import VERDICTS, Rule

__all__ = [
    "VERDICTS",
    "CrosscheckError",
    "Design",
    "Rule",
    "Smoothed",
    "compare",
    "compare_arrays",
    "joint_sigma",
    "total",
    "totals",
    "totals_kernel",
    "with_range",
]
