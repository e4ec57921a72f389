"""Statistical inventories: what a ledger says about a region, a category, a gas and a period, and how well it knows it.

Values are read with their units (pint, at this edge only) and held in kt of the gas over the period. A notation key
(NE, NO, IE, C, NA, FX) stays what it is; it never becomes a zero. The page for inventory teams is `README.md` here.
"""

from inversion.inventory.delimited import write
from inversion.inventory.entry import Entry, Inventory, InventoryError, Ledger, Period
from inversion.inventory.interchange import write_interchange
from inversion.inventory.reading import FORMATS, read
from inversion.inventory.sums import supposed, totals, whole
from inversion.inventory.vintages import beside, named, recalculation

__all__ = [
    "FORMATS",
    "Entry",
    "Inventory",
    "InventoryError",
    "Ledger",
    "Period",
    "beside",
    "named",
    "read",
    "recalculation",
    "supposed",
    "totals",
    "whole",
    "write",
    "write_interchange",
]
