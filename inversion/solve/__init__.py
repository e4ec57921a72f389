"""Solvers, one interface: a problem in, a posterior out."""

from inversion.solve.batch import batch
from inversion.solve.ensemble import ensemble
from inversion.solve.sample import sample
from inversion.solve.variational import variational

__all__ = ["batch", "ensemble", "sample", "variational"]
