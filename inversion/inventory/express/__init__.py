"""Express estimates: what a ledger will say, month by month, before it says it.

`express` estimates months from annual totals and an indicator such as electricity, `skill` says how well,
`History` keeps every release, and what is cumulative is taken apart by `calendar.apart`.
"""

from inversion.inventory.express.calendar import apart, coverage, monthly, months, quarters, years
from inversion.inventory.express.disaggregation import chow_lin, denton_cholette
from inversion.inventory.express.estimates import Express, Series, express, skill
from inversion.inventory.express.relation import Relation, fit, hold_out
from inversion.inventory.express.vintages import History, Release

__all__ = [
    "Express",
    "History",
    "Relation",
    "Release",
    "Series",
    "apart",
    "chow_lin",
    "coverage",
    "denton_cholette",
    "express",
    "fit",
    "hold_out",
    "monthly",
    "months",
    "quarters",
    "skill",
    "years",
]
