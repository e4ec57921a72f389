"""Solvers, one interface: a problem in, a posterior out."""

from inversion.solve.batch import batch

__all__ = ["batch"]
