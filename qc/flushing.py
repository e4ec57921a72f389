"""Which rows belong to an inlet, and which of them still hold the air of the port before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


class Ports(NamedTuple):
    """The rows of one inlet.

    Attributes
    ----------
    rows : intp (row of the inlet)
        Their indices in the readings. A row on which the valve moved belongs to the port it moved to;
        where no such row follows before an outage, to the one it came from.
    flushing : bool (row of the inlet)
        Whether the valve was moving or had reached the port less than the flushing time before.
    """

    rows: NDArray[np.intp]
    flushing: NDArray[np.bool_]


def split(
    readings: xr.Dataset,
    ports: Sequence[str],
    *,
    seconds: float | Mapping[str, float] = 0.0,
    outage_seconds: float = 900.0,
) -> Ports:
    """Return the rows of the inlet that has these ports, and whether they are being flushed.

    Where the readings begin, and after an outage, it is not known how long the valve has stood there:
    it counts as having just reached its port.

    Parameters
    ----------
    readings : xr.Dataset
        READINGS.
    ports : sequence of str
        The inlet's ports. Empty: an instrument without a valve, all rows are the inlet's.
    seconds : float or mapping
        Flushing time after the valve reached a port [s]; port -> time where it differs, 0 for ports not named.
    outage_seconds : float
        A longer gap between two rows is an outage [s].

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
    time, outage = nanoseconds(readings["time"]), int(outage_seconds * 1e9)
    ours = np.isin(codes, [_code(names, port) for port in ports])
    rows = np.flatnonzero(ours[_settled(time, moving, outage)])
    return Ports(rows, (moving | (_since_change(time, codes, outage) < _limits(codes, names, seconds)))[rows])


def _limits(
    codes: NDArray[np.intp], names: NDArray[np.object_], seconds: float | Mapping[str, float]
) -> int | NDArray[np.int64]:
    """Return the flushing time in ns, of each row where it depends on the port."""
    if not isinstance(seconds, Mapping):
        return int(seconds * 1e9)
    by_code = np.array([int(seconds.get(str(name), 0.0) * 1e9) for name in names] or [0], dtype=np.int64)
    return by_code[codes]


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


def _settled(time: NDArray[np.int64], moving: NDArray[np.bool_], outage: int) -> NDArray[np.intp]:
    """Return for each row the one whose port it belongs to: itself, or the next or last with a still valve."""
    index = np.arange(moving.size)
    still = np.flatnonzero(~moving)
    if not still.size:
        return index
    moved = np.flatnonzero(moving)
    after = np.searchsorted(still, moved)
    following, before = still[np.minimum(after, still.size - 1)], still[np.maximum(after - 1, 0)]
    soon = (after < still.size) & (time[following] - time[moved] <= outage)
    recent = (after > 0) & (time[moved] - time[before] <= outage)
    index[moved] = np.where(soon, following, np.where(recent, before, moved))
    return index


def _since_change(time: NDArray[np.int64], codes: NDArray[np.intp], outage: int) -> NDArray[np.int64]:
    """Return the ns since the valve reached each row's port."""
    begins = (np.diff(codes) != 0) | (np.diff(time) > outage)
    changed = np.flatnonzero(begins) + 1
    episode = np.zeros(codes.size, dtype=np.intp)
    episode[changed] = 1
    np.cumsum(episode, out=episode)
    return time - np.concatenate((time[:1], time[changed]))[episode]
