"""What an inventory team does at a terminal: ledgers looked at, compared, made from a balance, laid over a grid."""

from deploy.jobs.inventory.balance import Made, make, read_balance
from deploy.jobs.inventory.express import estimated, release
from deploy.jobs.inventory.grid import Grid, lay, masses, read_grid
from deploy.jobs.inventory.ledgers import Ledger, differences, read_csv_as, read_ledger, summary, written

__all__ = [
    "Grid",
    "Ledger",
    "Made",
    "differences",
    "estimated",
    "lay",
    "make",
    "masses",
    "read_balance",
    "read_csv_as",
    "read_grid",
    "read_ledger",
    "release",
    "summary",
    "written",
]
