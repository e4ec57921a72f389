"""Readings with the position of a valve that speaks for itself: by its events where the rows do not say it.

A valve that is not part of the instrument is reported by events ``valve_moved`` with ``{"port": "3"}`` (anything that
speaks to the station's agent can send them). From such an event to the next, rows without a port of their own are at
that port.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from ingest import database, read


def readings(dsn: str, *, station: str, instrument: str, start: read.Time, end: read.Time) -> xr.Dataset:
    """Return READINGS of an instrument, ports filled in from events.

    Parameters
    ----------
    dsn
        The store.
    station, instrument
        Names in the catalogue.
    start, end
        Times at or after `start` and before `end`.
    """
    ds = read.readings(dsn, station=station, instrument=instrument, start=start, end=end)
    silent = ds["port"].values == ""
    if not silent.any():
        return ds
    with database.connect(dsn) as conn:
        moves = read.valve_moves(conn, station=station, instrument=instrument, start=start, end=end)
    if not moves:
        return ds
    times = np.array([time for time, _ in moves], dtype="datetime64[ns]")
    ports = np.array(["", *(port for _, port in moves)], dtype=object)
    told = ports[np.searchsorted(times, ds["time"].values, side="right")]
    filled = np.where(silent, told, ds["port"].values)
    return ds.assign(port=("time", filled.astype(object), ds["port"].attrs))
