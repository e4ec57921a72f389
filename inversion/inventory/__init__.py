"""Statistical inventories: what a ledger says about a region, a category, a gas and a period, and how well it knows it.

Values are read with their units (pint, at this edge only) and held in kt of the gas over the period. A notation key
(NE, NO, IE, C, NA) stays what it is; it never becomes a zero.
"""

from inversion.inventory.delimited import read, write
from inversion.inventory.entry import Entry, Inventory, InventoryError, Ledger, Period

__all__ = ["Entry", "Inventory", "InventoryError", "Ledger", "Period", "read", "write"]
