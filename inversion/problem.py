"""The linear inverse problem y = H x + H_b b + ε, labelled, with its units, checked once.

Symbols (Rodgers 2000; Enting 2002): `y` observations (n), `x` state (m), `H` sensitivities n x m, `x_a`, `B` prior mean
and covariance of x, `R` covariance of ε; `b`, `H_b`, `b_a`, `B_b` the same for the boundary (background) terms, which
are always solved for together with x.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from inversion.covariance import BlockDiagonal, Covariance
from inversion.covariance.operator import Array
from inversion.errors import ProblemError
from inversion.findings import Finding, Grade
from inversion.jacobian import Beside, Jacobian, as_jacobian
from qc.units import TO_MOLE_FRACTION

_IMPOSSIBLE = 0.1
"""mol mol-1: no trace gas in the open air has a dry mole fraction like this."""


class Joint(NamedTuple):
    """The problem for z = [x; b]: what the solvers work on."""

    H: Jacobian
    """[H H_b] (n, m + p)."""
    B: Covariance
    """diag(B, B_b)."""
    z_a: Array
    """[x_a; b_a] (m + p,)."""
    innovation: Array
    """d = y − H x_a − H_b b_a (n,)."""


class Problem:
    """y = H x + H_b b + ε with ε ~ N(0, R), x ~ N(x_a, B), b ~ N(b_a, B_b).

    Parameters
    ----------
    y : array (n,)
        Observed mole fractions, in `y_units`. A `DataArray` with the one dimension ``obs`` brings its coordinates along
        (``site`` and ``time`` are used by the diagnostics) and its ``units`` attribute.
    H : array, Dask array, scipy.sparse matrix, LinearOperator or DataArray (n, m)
        Sensitivities, `y_units` per `x_units`; a `DataArray` has the dimensions (``obs``, ``state``).
    R, B, B_b : inversion.covariance.Covariance
        (n, n) in `y_units` squared; (m, m) in `x_units` squared; (p, p) in `b_units` squared.
    x_a : array (m,)
        Prior state; a `DataArray` with the one dimension ``state`` brings its coordinates (``region``, ``sector``).
    H_b : as H (n, p), optional
        Sensitivities to the boundary terms; given together with `b_a` (p,) (dimension ``boundary``) and `B_b`.
    y_units, x_units, b_units : str, optional
        UDUNITS names; needed where the arrays carry no ``units`` attribute. `b_units` is "1" unless stated.
    name : str
        What this is, for titles and provenance.
    provenance : mapping, optional
        Inputs, code versions, configuration: carried into `Posterior.to_dataset`; JSON values.
    findings : sequence of Finding
        What the reader of the input noticed and the result must carry.

    Attributes
    ----------
    y, x_a, b_a : xr.DataArray
        Labelled, float64, on ``obs``, ``state``, ``boundary`` (`b_a` is None without boundary terms).
    H, H_b : inversion.jacobian.Jacobian
        With ``matvec``, ``rmatvec``, ``rows``; `H_b` is None without boundary terms.
    n_obs, n_state, n_boundary : int

    Raises
    ------
    ProblemError
        With every fault found: sizes, labels that differ, units not stated or not the same, NaN or infinity (with the
        place), mole fractions that cannot be.

    Examples
    --------
    >>> from inversion.covariance import Diagonal
    >>> problem = Problem(y=[2.0], H=[[1.0]], R=Diagonal([1.0]), x_a=[1.0], B=Diagonal([1.0]),
    ...                   y_units="nmol mol-1", x_units="1")
    >>> problem.n_obs, problem.n_state, problem.n_boundary
    (1, 1, 0)
    """

    def __init__(  # noqa: PLR0913  the pieces of an inverse problem, all by keyword
        self,
        *,
        y: Any,
        H: Any,
        R: Covariance,
        x_a: Any,
        B: Covariance,
        H_b: Any = None,
        b_a: Any = None,
        B_b: Covariance | None = None,
        y_units: str | None = None,
        x_units: str | None = None,
        b_units: str | None = None,
        name: str = "inversion",
        provenance: Mapping[str, Any] | None = None,
        findings: tuple[Finding, ...] = (),
    ) -> None:
        self.name = name
        self.provenance = dict(provenance or {})
        faults: list[str] = []
        self.y = _vector(y, "y", "obs", faults)
        self.x_a = _vector(x_a, "x_a", "state", faults)
        self.y_units = _units(self.y, "y", y_units, faults)
        self.x_units = _units(self.x_a, "x_a", x_units, faults)
        self.R, self.B, self.B_b = R, B, B_b
        given = [label for label, piece in (("H_b", H_b), ("b_a", b_a), ("B_b", B_b)) if piece is not None]
        if given and len(given) < 3:
            faults.append(f"Boundary terms need H_b, b_a and B_b together, got only {', '.join(given)}.")
        bounded = len(given) == 3
        self.b_a = _vector(b_a, "b_a", "boundary", faults) if bounded else None
        self.b_units = "1" if self.b_a is None else _units(self.b_a, "b_a", b_units, faults, default="1")
        jacobian = _jacobian(H, "H", (self.y, self.x_a), faults)
        self.H_b = None if self.b_a is None else _jacobian(H_b, "H_b", (self.y, self.b_a), faults)
        faults += _unit_faults(H, "H", self.y_units, self.x_units)
        faults += _unit_faults(H_b, "H_b", self.y_units, self.b_units) if bounded else []
        faults += _covariance_faults((("R", R, self.y), ("B", B, self.x_a), ("B_b", B_b, self.b_a)))
        faults += _value_faults(self.y, self.y_units)
        if faults or jacobian is None:
            raise ProblemError(f"The problem {name!r}", faults)
        self.H = jacobian
        self.findings = (*findings, *_notes(R, B, B_b))

    @property
    def n_obs(self) -> int:
        """Number of observations n."""
        return self.y.size

    @property
    def n_state(self) -> int:
        """Number of states m."""
        return self.x_a.size

    @property
    def n_boundary(self) -> int:
        """Number of boundary terms p."""
        return 0 if self.b_a is None else self.b_a.size

    def simulate(self, x: Any, b: Any = None) -> xr.DataArray:
        """Return H x + H_b b.

        Parameters
        ----------
        x : array (m,)
        b : array (p,), optional
            The prior b_a where not given.

        Returns
        -------
        xr.DataArray (obs)
            In `y_units`.
        """
        values = self.H.matvec(np.asarray(x, dtype=np.float64)) + self.baseline(b).values
        return self.y.copy(data=values)

    def baseline(self, b: Any = None) -> xr.DataArray:
        """Return H_b b, zero without boundary terms; arguments and result as `simulate`."""
        if self.H_b is None or self.b_a is None:
            return xr.zeros_like(self.y)
        return self.y.copy(data=self.H_b.matvec(np.asarray(self.b_a if b is None else b, dtype=np.float64)))

    def joint(self) -> Joint:
        """Return the problem for z = [x; b]."""
        innovation = self.y.values - self.simulate(self.x_a.values).values
        if self.H_b is None or self.b_a is None or self.B_b is None:
            return Joint(self.H, self.B, self.x_a.values, innovation)
        z_a = np.concatenate([self.x_a.values, self.b_a.values])
        return Joint(Beside(self.H, self.H_b), BlockDiagonal([self.B, self.B_b]), z_a, innovation)


def _vector(values: Any, label: str, dim: str, faults: list[str]) -> xr.DataArray:
    """Return `values` as a float64 DataArray on `dim`; where that cannot be, an empty one and a fault."""
    array = values if isinstance(values, xr.DataArray) else xr.DataArray(np.asarray(values))
    if array.ndim != 1:
        faults.append(f"{label} has shape {array.shape}, expected a vector.")
        return xr.DataArray(np.zeros(0), dims=dim)
    if isinstance(values, xr.DataArray) and array.dims != (dim,):
        faults.append(f"{label} has the dimension {array.dims[0]!r}, expected {dim!r}; rename it.")
    array = array.rename({array.dims[0]: dim}) if array.dims != (dim,) else array
    if array.dtype.kind not in "fiu":
        faults.append(f"{label} holds {array.dtype}, expected numbers.")
        return array.copy(data=np.zeros(array.size))
    array = array.astype(np.float64).compute()
    wrong = np.flatnonzero(~np.isfinite(array.values))
    if wrong.size:
        place = _place(array, int(wrong[0]))
        faults.append(
            f"{label} has {wrong.size} values that are not finite, the first at {place}: {array.values[wrong[0]]}; "
            f"drop what is missing before the inversion."
        )
    return array


def _place(array: xr.DataArray, index: int) -> str:
    """Say where an element is: its index and the coordinates that name it."""
    labels = [f"{key} {array[key].values[index]}" for key in array.coords if array[key].dims == array.dims]
    return f"{array.dims[0]} {index}" + (f" ({', '.join(labels)})" if labels else "")


def _units(array: xr.DataArray, label: str, stated: str | None, faults: list[str], default: str | None = None) -> str:
    own = array.attrs.get("units")
    argument = {"y": "y_units", "x_a": "x_units", "b_a": "b_units"}[label]
    if own is not None and stated is not None and own != stated:
        faults.append(f"{label} carries the units {own!r} but {argument} says {stated!r}; convert one of them.")
    units = stated if stated is not None else own if own is not None else default
    if units is None:
        faults.append(f"The units of {label} are not stated; set its attribute 'units' or give {argument}=.")
        return ""
    array.attrs = {**array.attrs, "units": units}
    return str(units)


def _jacobian(H: Any, label: str, sides: tuple[xr.DataArray, xr.DataArray], faults: list[str]) -> Jacobian | None:
    try:
        jacobian = as_jacobian(H)
    except TypeError as error:
        faults.append(f"{label} {error}.")
        return None
    expected = (sides[0].size, sides[1].size)
    if jacobian.shape != expected:
        rows, columns = sides[0].dims[0], sides[1].dims[0]
        faults.append(f"{label} has shape {jacobian.shape}, expected {expected} ({rows}, {columns}).")
        return jacobian
    faults += _label_faults(H, label, sides)
    place = jacobian.place_of_nonfinite()
    if place is not None:
        row, column, value = place
        faults.append(
            f"{label} is {value} at {_place(sides[0], row)}, {_place(sides[1], column)}; "
            "look at the footprint of that observation or drop the observation."
        )
    return jacobian


def _label_faults(H: Any, label: str, sides: tuple[xr.DataArray, xr.DataArray]) -> Iterator[str]:
    if not isinstance(H, xr.DataArray):
        return
    dims = tuple(str(side.dims[0]) for side in sides)
    if H.dims != dims:
        yield f"{label} has the dimensions {H.dims}, expected {dims}; transpose or rename it."
        return
    for side in sides:
        for key in set(side.coords) & set(H.coords):
            theirs, ours = H[key], side[key]
            if theirs.dims == ours.dims == side.dims and not np.array_equal(theirs.values, ours.values):
                at = int(np.flatnonzero(theirs.values != ours.values)[0])
                yield (
                    f"{label} and the {side.dims[0]} vector disagree on {key!r} at {side.dims[0]} {at}: "
                    f"{theirs.values[at]} against {ours.values[at]}; put them in the same order."
                )


def _unit_faults(H: Any, label: str, y_units: str, unknown_units: str) -> list[str]:
    """Compare H's units where it states any: those of y where the unknown is a scaling ("1")."""
    stated = H.attrs.get("units") if isinstance(H, xr.DataArray) else None
    if stated is None or unknown_units != "1" or stated == y_units:
        return []
    return [f"{label} is in {stated!r} but y is in {y_units!r}, for scalings without unit; convert one of them."]


def _covariance_faults(pieces: tuple[tuple[str, Any, xr.DataArray | None], ...]) -> Iterator[str]:
    for label, covariance, vector in pieces:
        if vector is None or (covariance is None and label == "B_b"):
            continue
        if not isinstance(covariance, Covariance):
            kind = type(covariance).__name__
            yield f"{label} is a {kind}, expected one of inversion.covariance, as Diagonal(variances)."
        elif covariance.size != vector.size:
            yield f"{label} has size {covariance.size}, expected {vector.size} ({vector.dims[0]})."


def _value_faults(y: xr.DataArray, units: str) -> Iterator[str]:
    """Refuse mole fractions that cannot be."""
    factor = TO_MOLE_FRACTION.get(units)
    if not y.size:
        yield "There are no observations: y is empty."
    elif factor is not None:
        wrong = np.flatnonzero(np.abs(y.values) * factor > _IMPOSSIBLE)
        if wrong.size:
            yield (
                f"y holds {wrong.size} values that no air has, the first at {_place(y, int(wrong[0]))}: "
                f"{y.values[wrong[0]]:g} {units}; look at its units, or flag it."
            )


def _notes(*covariances: Covariance | None) -> Iterator[Finding]:
    for covariance in covariances:
        for note in covariance.notes if covariance is not None else ():
            yield Finding(Grade.INFORM, "regularised", note)
