"""Aggregates as a user gives them (see `inversion.posterior`), as columns for z = [x; b]."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
import xarray as xr

from inversion.covariance.operator import Array, columns
from inversion.errors import InversionError
from inversion.problem import Problem

_WHOLE = 5000
"""Largest state whose whole covariance is formed."""


class Aggregate(NamedTuple):
    """k linear forms of the state, with their labels."""

    columns: Array
    """[W 0]ᵀ (m + p, k)."""
    dim: str
    coords: Mapping[str, Any]
    units: str


def read(problem: Problem, aggregate: Any) -> Aggregate:
    """Return W as columns for z, with the labels and units of W x.

    Parameters
    ----------
    problem : Problem
    aggregate : array, sparse matrix or DataArray (k, m), optional
        None: every state by itself.

    Returns
    -------
    Aggregate

    Raises
    ------
    InversionError
        Where `aggregate` does not fit, or stands for every state of more than 5000.
    """
    if aggregate is None:
        return _identity(problem)
    if not isinstance(aggregate, xr.DataArray):
        matrix = aggregate if scipy.sparse.issparse(aggregate) else np.atleast_2d(np.asarray(aggregate, np.float64))
        _check(problem, matrix.shape)
        return Aggregate(_padded(problem, columns(matrix)), "aggregate", {}, problem.x_units)
    if "state" not in aggregate.dims or aggregate.ndim != 2:
        msg = f"An aggregate has the dimensions (name, 'state'), got {aggregate.dims}."
        raise InversionError(msg)
    labelled = aggregate.transpose(..., "state")
    _check(problem, labelled.shape)
    dim = str(labelled.dims[0])
    units = str(aggregate.attrs.get("units", problem.x_units))
    return Aggregate(_padded(problem, columns(labelled.values)), dim, coordinates(labelled[:, 0]), units)


def coordinates(vector: xr.DataArray) -> dict[str, Any]:
    """Return the coordinates that lie along the one dimension of `vector`."""
    return {str(key): value for key, value in vector.coords.items() if value.dims == vector.dims}


def _identity(problem: Problem) -> Aggregate:
    m = problem.n_state
    if m > _WHOLE:
        msg = (
            f"The whole covariance of {m} states would take {8 * m * m / 1e9:.1f} GB; ask for the covariance of "
            f"aggregates (provinces, sectors, years), which is exact without it."
        )
        raise InversionError(msg)
    return Aggregate(_padded(problem, np.eye(m)), "state", coordinates(problem.x_a), problem.x_units)


def _check(problem: Problem, shape: tuple[int, ...]) -> None:
    if len(shape) != 2 or shape[1] != problem.n_state:
        msg = f"The aggregate has shape {shape}, expected (k, {problem.n_state}): one column a state."
        raise InversionError(msg)


def _padded(problem: Problem, columns_of_x: Array) -> Array:
    """Return [W 0]ᵀ: aggregates of the fluxes leave the boundary terms out."""
    if not problem.n_boundary:
        return columns_of_x
    return np.vstack([columns_of_x, np.zeros((problem.n_boundary, columns_of_x.shape[1]))])
