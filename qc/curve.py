"""Trend and seasonal cycle of a record: a function fit, and its residuals filtered twice (CCGCRV).

1. A polynomial and yearly harmonics are fitted to the data by linear least squares.
2. The residuals, less a line through both ends of the record, are put on an even grid and filtered in the frequency
   domain with H(f) = 2^-(f/fc)^6, fc = 365 / cutoff in cycles a year: once short, once long.
3. ``smooth`` is the function and the short-filtered residuals, ``trend`` the polynomial and the long-filtered ones,
   each with the line put back; the growth rate is the derivative of a spline through the trend.

A seasonal cycle that changes from year to year is in ``smooth``, not in ``trend``.

References
----------
Thoning, K. W., Tans, P. P. and Komhyr, W. D. (1989): Atmospheric carbon dioxide at Mauna Loa Observatory 2. Analysis of
the NOAA GMCC data, 1974-1985. J. Geophys. Res. 94, 8549-8565, doi:10.1029/JD094iD06p08549.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicSpline

from qc.errors import QcError

YEAR: Final = 365.0
"""Days of a year, for cutoffs and spacing."""
_STEEPEST: Final = 20.0
"""Largest exponent of the filter: what passes beyond is 1e-6."""
_EXPONENT: Final = 6
_END: Final = 0.25
"""Of the long cutoff: how much of each end the line is fitted to."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Curves:
    """What the curves are made of: the function's coefficients, and the filtered residuals on the even grid."""

    coefficients: Array
    origin: float
    shape: tuple[int, int]
    grid: Array
    short: Array
    long: Array
    growth: CubicSpline

    def at(self, time: Array) -> dict[str, Array]:
        """Return the curves at times; what the filters give is NaN outside of the record."""
        inside = (time >= self.grid[0]) & (time <= self.grid[-1])
        design = _design(time - self.origin, *self.shape)
        function, n_poly = design @ self.coefficients, self.shape[0]
        found = {
            "smooth": function + np.interp(time, self.grid, self.short),
            "trend": design[:, :n_poly] @ self.coefficients[:n_poly] + np.interp(time, self.grid, self.long),
            "growth_rate": self.growth(time),
        }
        return {"function": function} | {name: np.where(inside, values, np.nan) for name, values in found.items()}


@dataclass(frozen=True, slots=True)
class CurveFit:
    """A record's curves.

    Parameters
    ----------
    time
        (n,) decimal years of the record, increasing.
    function, smooth, trend, growth_rate
        (n,) at those times: the fitted function, with the short-filtered residuals, the trend (units of the values),
        and its growth (units a year).
    rsd_function, rsd_smooth
        Standard deviation of the values about ``function`` and about ``smooth``.
    coefficients
        (n_poly + 2 n_harmonics,): of the polynomial in years since `origin`, then sine and cosine of each harmonic.
    origin
        The year the polynomial counts from.
    """

    time: Array
    function: Array
    smooth: Array
    trend: Array
    growth_rate: Array
    rsd_function: float
    rsd_smooth: float
    coefficients: Array
    origin: float
    _curves: _Curves

    @property
    def polynomial(self) -> Array:
        """(n,) of the function, without its harmonics, at the times of the record (units of the values)."""
        n_poly = self._curves.shape[0]
        return _design(self.time - self.origin, n_poly, 0) @ self.coefficients[:n_poly]

    def __call__(self, time: ArrayLike) -> dict[str, Array]:
        """Return ``function``, ``smooth``, ``trend`` and ``growth_rate`` at other times.

        Parameters
        ----------
        time
            (m,) datetime64 or decimal years.

        Returns
        -------
        dict
            Name -> (m,); all but ``function`` are NaN outside of the record.
        """
        return self._curves.at(decimal_years(time))


def fit(
    time: ArrayLike,
    value: ArrayLike,
    *,
    n_poly: int = 3,
    n_harmonics: int = 4,
    short_cutoff: float = 80.0,
    long_cutoff: float = 667.0,
) -> CurveFit:
    """Fit a record.

    Cost grows as n log n.

    Parameters
    ----------
    time
        (n,) datetime64 or decimal years, in any order.
    value
        (n,) of any unit; NaN is left out of the fit, and the curves have its time all the same.
    n_poly
        Terms of the polynomial (3: quadratic).
    n_harmonics
        Harmonics of the year; those a record is too coarse for are left out.
    short_cutoff, long_cutoff
        Days.

    Returns
    -------
    CurveFit
        With curves at the input times, in increasing order.

    Raises
    ------
    QcError
        Lengths differ, a time is missing, there are too few values, or a cutoff cannot be.
    """
    at, values = decimal_years(time), np.asarray(value, dtype=np.float64)
    _check(at, values, n_poly=n_poly, n_harmonics=n_harmonics, cutoffs=(short_cutoff, long_cutoff))
    order = np.argsort(at, kind="stable")
    at, values = at[order], values[order]
    there = np.isfinite(values)
    x, y = at[there], values[there]
    spacing = _spacing(x)
    shape = n_poly, max(0, min(n_harmonics, int(YEAR / (2 * spacing))))
    if x.size <= shape[0] + 2 * shape[1]:
        raise QcError(
            f"{x.size} values are too few for {shape[0]} terms of a polynomial and {shape[1]} harmonics; "
            "expected more of them, or fewer terms"
        )
    origin = float(np.floor(x[0]))
    design = _design(x - origin, *shape)
    coefficients = np.linalg.lstsq(design, y, rcond=None)[0].astype(np.float64)
    residuals = y - design @ coefficients
    grid = _even(x, spacing / YEAR)
    line = np.polyval(_line(x, residuals, _END * long_cutoff / YEAR), grid)
    even = np.interp(grid, x, residuals) - line
    short, long = (_filtered(even, spacing / YEAR, cutoff) + line for cutoff in (short_cutoff, long_cutoff))
    trend = CubicSpline(grid, _design(grid - origin, n_poly, 0) @ coefficients[:n_poly] + long)
    curves = _Curves(coefficients, origin, shape, grid, short, long, trend.derivative())
    found = curves.at(at)
    return CurveFit(
        time=at,
        rsd_function=float(residuals.std(ddof=1)),
        rsd_smooth=float(np.std(y - found["smooth"][there], ddof=1)),
        coefficients=coefficients,
        origin=origin,
        _curves=curves,
        **found,
    )


def decimal_years(time: ArrayLike) -> Array:
    """Return times as decimal years: the year and the part of it that has gone, by its own number of days.

    Parameters
    ----------
    time
        (n,) datetime64, or decimal years already.
    """
    given = np.asarray(time)
    if not np.issubdtype(given.dtype, np.datetime64):
        return given.astype(np.float64)
    year = given.astype("datetime64[Y]")
    begin, end = year.astype("datetime64[ns]"), (year + 1).astype("datetime64[ns]")
    part = (given.astype("datetime64[ns]") - begin) / (end - begin)
    return np.where(np.isnat(given), np.nan, year.astype(np.int64) + 1970 + part)


def _check(at: Array, values: Array, *, n_poly: int, n_harmonics: int, cutoffs: tuple[float, float]) -> None:
    if at.ndim != 1 or at.shape != values.shape:
        raise QcError(f"times of shape {at.shape} and values of shape {values.shape}: expected (n,) and (n,)")
    if not np.isfinite(at).all():
        raise QcError(f"{int((~np.isfinite(at)).sum())} times are missing: leave those rows out")
    if n_poly < 1 or n_harmonics < 0:
        raise QcError(f"n_poly {n_poly}, n_harmonics {n_harmonics}: expected at least 1 and 0")
    if not 0 < cutoffs[0] < cutoffs[1]:
        raise QcError(f"cutoffs of {cutoffs[0]:g} and {cutoffs[1]:g} days: expected 0 < short < long")
    if np.isfinite(values).sum() < 2 or np.ptp(at[np.isfinite(values)]) * YEAR < cutoffs[1]:
        raise QcError(f"the values span less than the long cutoff of {cutoffs[1]:g} days: there is no trend in them")


def _design(x: Array, n_poly: int, n_harmonics: int) -> Array:
    """Return (m, p): powers of the years, then sine and cosine of each harmonic."""
    columns = [x**power for power in range(n_poly)]
    for harmonic in range(1, n_harmonics + 1):
        angle = 2 * np.pi * harmonic * x
        columns += [np.sin(angle), np.cos(angle)]
    return np.stack(columns, axis=1)


def _spacing(x: Array) -> float:
    """Return the even grid's spacing, whole days: the mean of the gaps of more than one."""
    gaps = np.diff(x) * YEAR
    wide = gaps[gaps > 1.0]
    return max(1.0, float(np.round(wide.mean()))) if wide.size else 1.0


def _even(x: Array, step: float) -> Array:
    """Return the grid; its last point is the record's last."""
    grid = x[0] + np.arange(int((x[-1] - x[0]) / step + 1e-9) + 1) * step
    grid[-1] = x[-1]
    return grid


def _line(x: Array, residuals: Array, width: float) -> Any:
    """Return slope and intercept of the line through both ends."""
    ends = (x <= x[0] + width) | (x >= x[-1] - width)
    return np.polyfit(x[ends], residuals[ends], 1)


def _filtered(even: Array, step: float, cutoff: float) -> Array:
    size = 1 << (even.size - 1).bit_length()
    exponent = np.minimum((np.fft.rfftfreq(size, step) * cutoff / YEAR) ** _EXPONENT, _STEEPEST)
    filtered: Array = np.fft.irfft(np.fft.rfft(even, size) * 2.0**-exponent, size)[: even.size]
    return filtered
