r"""Target gas: how well the calibrated instrument finds a cylinder again that is known and not used to calibrate.

With x_i the calibrated one-minute means of a target, grouped by injection j (mean X_j at t_j, assigned value a)::

    bias_j = X_j - a
    CMR    = sqrt( sum_j sum_i (x_ij - X_j)² / sum_j (n_j - 1) )     continuous measurement repeatability
    LTR    = standard deviation of X_j                               long-term repeatability
    STTB   = mean of bias_j                                          short-term target bias

CMR and LTR over a window that ends at t_j, STTB over one centred on it (Yver Kwok et al. 2015, AMT 8, 3867, sect. 2.3).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qc.errors import QcError

_DAY_NS: Final = 86_400 * 10**9

Floats = NDArray[np.float64]


class History(NamedTuple):
    """What a target has shown, one value an injection.

    Attributes
    ----------
    time : int64 (injection)
        ns since 1970 UTC.
    bias : float64 (injection)
        Calibrated mean minus assigned value [unit of the gas].
    cmr, ltr, sttb : float64 (injection)
        NaN where the window holds too little.
    """

    time: NDArray[np.int64]
    bias: Floats
    cmr: Floats
    ltr: Floats
    sttb: Floats


def history(
    time: NDArray[np.int64],
    mean: Floats,
    stdev: Floats,
    minutes: NDArray[np.int64],
    assigned: Floats,
    *,
    window_days: float = 30.0,
    bias_days: float = 7.0,
) -> History:
    """Return the history of one target.

    Parameters
    ----------
    time : int64 (injection)
        ns since 1970 UTC, increasing.
    mean, stdev : float64 (injection)
        Of its calibrated one-minute means, stdev with n - 1 (NaN for one minute).
    minutes : int64 (injection)
        How many.
    assigned : float64 (injection)
        Assigned value at that time.
    window_days : float
        Length of the window of CMR and LTR [d].
    bias_days : float
        Length of that of STTB [d].

    Returns
    -------
    History

    Raises
    ------
    QcError
        Where times do not increase or a window has no length.
    """
    if time.size and (np.diff(time) <= 0).any():
        place = int(np.argmax(np.diff(time) <= 0)) + 1
        msg = f"injections of the target do not follow each other in time, first at place {place}"
        raise QcError(msg)
    for name, days in (("window_days", window_days), ("bias_days", bias_days)):
        if not days > 0:
            msg = f"{name} is {days}, expected more than 0"
            raise QcError(msg)
    bias = mean - assigned
    since = np.searchsorted(time, time - int(window_days * _DAY_NS), side="right")
    upto = np.arange(1, time.size + 1)
    freedom = np.maximum(minutes - 1, 0).astype(np.float64)
    squares = freedom * np.nan_to_num(stdev) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        cmr = np.sqrt(_summed(squares, since, upto) / _summed(freedom, since, upto))
    half = int(bias_days * _DAY_NS / 2)
    first, last = np.searchsorted(time, time - half, side="left"), np.searchsorted(time, time + half, side="right")
    sttb = _summed(bias, first, last) / np.maximum(last - first, 1)
    return History(time, bias, cmr, _deviation(mean, since, upto), sttb)


def _summed(values: Floats, first: NDArray[np.intp], last: NDArray[np.intp]) -> Floats:
    """Return the sum of each stretch [first, last)."""
    total = np.r_[0.0, np.cumsum(values)]
    found: Floats = total[last] - total[first]
    return found


def _deviation(values: Floats, first: NDArray[np.intp], last: NDArray[np.intp]) -> Floats:
    """Return the standard deviation (n - 1) of each stretch, NaN for fewer than two."""
    centred = values - values.mean() if values.size else values
    n = (last - first).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = _summed(centred, first, last) / n
        variance = (_summed(centred**2, first, last) - n * mean**2) / (n - 1)
        return np.where(n > 1, np.sqrt(np.maximum(variance, 0.0)), np.nan)
