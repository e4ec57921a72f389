"""Which rows belong to an inlet, and which of them still hold the air of the port before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from qc.errors import QcError
from qc.schema import nanoseconds

MOVING: Final = "moving"
"""Port of a row on which the valve stood between two positions."""
_ABSENT: Final = -2  # a code no row has: -1 is pandas' for a missing port
_LONG_AGO: Final = np.iinfo(np.int64).max


class Ports(NamedTuple):
    """The rows of one inlet.

    Attributes
    ----------
    rows : intp (row of the inlet)
        Their indices in the readings. A row on which the valve moved belongs to the port it moved to,
        at the end of the readings to the one it came from.
    flushing : bool (row of the inlet)
        Whether the valve was moving or had reached the port less than the flushing time before.
    """

    rows: NDArray[np.intp]
    flushing: NDArray[np.bool_]


def split(readings: xr.Dataset, ports: Sequence[str], *, seconds: float = 0.0) -> Ports:
    """Return the rows of the inlet that has these ports, and whether they are being flushed.

    Where the readings begin, how long the valve has stood there is not known; those rows count as
    flushed. Whoever cuts readings into pieces gives each piece the flushing time before it as well.

    Parameters
    ----------
    readings : xr.Dataset
        READINGS.
    ports : sequence of str
        The inlet's ports. Empty: an instrument without a valve, all rows are the inlet's.
    seconds : float
        Flushing time after the valve reached a port [s].

    Returns
    -------
    Ports

    Raises
    ------
    QcError
        Where no port is given and the readings come from several.
    """
    codes, names = pd.factorize(readings["port"].values)
    moving = codes == _code(names, MOVING)
    if not ports:
        _one_port(readings, names)
        return Ports(np.arange(codes.size), moving)
    ours = np.isin(codes, [_code(names, port) for port in ports])
    rows = np.flatnonzero(ours[_settled(moving)]) if codes.size else np.arange(0)
    flushing = moving | (_since_change(nanoseconds(readings["time"]), codes) < int(seconds * 1e9))
    return Ports(rows, flushing[rows])


def _code(names: NDArray[np.object_], name: str) -> int:
    found = np.flatnonzero(names == name)
    return int(found[0]) if found.size else _ABSENT


def _one_port(readings: xr.Dataset, names: NDArray[np.object_]) -> None:
    standing = sorted(str(name) for name in names if name != MOVING)
    if len(standing) > 1:
        msg = (
            f"readings of {readings.attrs.get('station')}/{readings.attrs.get('instrument')} come from ports "
            f"{', '.join(repr(name) for name in standing)} and the configuration names none; "
            "say in `ports` which of them are this inlet's"
        )
        raise QcError(msg)


def _settled(moving: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return for each row the next on which the valve stood still, the last such one after all of them."""
    index = np.where(moving, moving.size, np.arange(moving.size))
    following = np.minimum.accumulate(index[::-1])[::-1]
    still = np.flatnonzero(~moving)
    last = still[-1] if still.size else 0
    return np.where(following < moving.size, following, last)


def _since_change(time: NDArray[np.int64], codes: NDArray[np.intp]) -> NDArray[np.int64]:
    """Return the ns since the valve reached each row's port, very many before its first change."""
    changed = np.flatnonzero(np.diff(codes)) + 1
    episode = np.zeros(codes.size, dtype=np.intp)
    episode[changed] = 1
    np.cumsum(episode, out=episode)
    begun = np.concatenate((time[:1], time[changed]))
    since = time - begun[episode]
    since[episode == 0] = _LONG_AGO
    return since
