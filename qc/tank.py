"""What a cylinder holds: its assigned value over time, which may drift.

A cylinder is assigned a value whenever it is measured against the scale. Its value in between follows the polynomial of
the lowest degree the assignments justify: weighted quadratic, then linear, then the mean; the highest term must differ
from zero at the 95 % level (two-sided, normal for stated uncertainties), as the WMO's central laboratory does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qc.errors import QcError

SIGNIFICANT: Final = 1.959963984540054
"""A term this many standard deviations from zero is significant at the 95 % level."""
_YEAR_NS: Final = 365.25 * 86_400e9

Floats = NDArray[np.float64]


class Assignment(NamedTuple):
    """One assignment: when (datetime64), value and standard uncertainty [unit of the gas]."""

    time: np.datetime64
    value: float
    uncertainty: float


@dataclass(frozen=True, slots=True)
class Tank:
    """A cylinder's content of one gas.

    Parameters
    ----------
    name
        The cylinder's.
    assignments
        One or more, in any order; uncertainties positive.

    Raises
    ------
    QcError
        Where there is no assignment, or an uncertainty is not positive.
    """

    name: str
    assignments: tuple[Assignment, ...]
    _origin: int = field(init=False, default=0)
    _coefficients: Floats = field(init=False, default_factory=lambda: np.zeros(1))
    _covariance: Floats = field(init=False, default_factory=lambda: np.zeros((1, 1)))

    def __post_init__(self) -> None:
        if not self.assignments:
            msg = f"cylinder {self.name!r} has no assigned value"
            raise QcError(msg)
        wrong = [a for a in self.assignments if not (a.uncertainty > 0 and np.isfinite(a.value))]
        if wrong:
            msg = (
                f"cylinder {self.name!r}: value {wrong[0].value} with uncertainty {wrong[0].uncertainty}; "
                "expected a number with a positive standard uncertainty"
            )
            raise QcError(msg)
        times = np.array([a.time.astype("datetime64[ns]").astype(np.int64) for a in self.assignments], dtype=np.int64)
        object.__setattr__(self, "_origin", int(times.mean()))
        coefficients, covariance = _polynomial(
            (times - self._origin) / _YEAR_NS,
            np.array([a.value for a in self.assignments]),
            np.array([a.uncertainty for a in self.assignments]),
        )
        object.__setattr__(self, "_coefficients", coefficients)
        object.__setattr__(self, "_covariance", covariance)

    @property
    def degree(self) -> int:
        """Degree of the polynomial its assignments justify: 0, 1 or 2."""
        return self._coefficients.size - 1

    def at(self, time: NDArray[np.datetime64]) -> tuple[Floats, Floats]:
        """Return value and standard uncertainty (n,) at times (n,)."""
        years = (time.astype("datetime64[ns]").astype(np.int64) - self._origin) / _YEAR_NS
        powers = np.vander(np.atleast_1d(years), self.degree + 1, increasing=True)
        variance = np.einsum("ni,ij,nj->n", powers, self._covariance, powers)
        return powers @ self._coefficients, np.sqrt(variance)


def _polynomial(years: Floats, values: Floats, u: Floats) -> tuple[Floats, Floats]:
    """Return coefficients and covariance of the highest significant polynomial, weights 1/u²."""
    for degree in (2, 1):
        if np.unique(years).size <= degree + 1:
            continue  # as many assignments as terms: nothing is left to judge by
        powers = np.vander(years, degree + 1, increasing=True) / u[:, None]
        q, r = np.linalg.qr(powers)
        inverse = np.linalg.solve(r, np.eye(degree + 1))
        covariance: Floats = inverse @ inverse.T
        coefficients: Floats = inverse @ (q.T @ (values / u))
        if abs(coefficients[-1]) > SIGNIFICANT * np.sqrt(covariance[-1, -1]):
            return coefficients, covariance
    weight = 1.0 / u**2
    mean = (weight * values).sum() / weight.sum()
    return np.array([mean]), np.array([[1.0 / weight.sum()]])


def tanks(assigned: Sequence[tuple[str, np.datetime64, float, float]]) -> dict[str, Tank]:
    """Return name -> tank of rows (name, time, value, uncertainty)."""
    grouped: dict[str, list[Assignment]] = {}
    for name, time, value, uncertainty in assigned:
        grouped.setdefault(name, []).append(Assignment(time, value, uncertainty))
    return {name: Tank(name, tuple(rows)) for name, rows in grouped.items()}
