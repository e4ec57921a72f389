"""An archive's files into the store's means of hours and minutes, as a run of their own.

Only intervals are written that have no value there yet; in place of what is there where a reason is given. What quality
control makes of readings later for the same intervals takes precedence, as the latest run always does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr

from ingest import files, products, read, series
from ingest.backfill import ledger
from ingest.backfill.ledger import Filled, Reason
from ingest.database import Connection, connect
from ingest.errors import FileError, NoMeansError, StoreError
from ingest.products import QcRun
from ingest.reading import Written
from qc.schema import OBS
from station_agent import __version__

_LENGTHS: Final = {60: "minute", 3600: "hour"}
"""Seconds of an interval -> the table it belongs in."""


def archive_file(
    dsn: str,
    path: str | PathLike[str],
    *,
    station: str,
    inlet: str,
    again: bool = False,
    in_place: Reason | None = None,
    said: Mapping[str, Any] | None = None,
) -> Filled:
    """Fill in a file of an archive.

    Parameters
    ----------
    dsn
        The database.
    path
        The file; its intervals are whole minutes or hours.
    station, inlet
        Whose it is, in the catalogue; they stand for the names in the file.
    again
        Also if it has been filled in before.
    in_place
        Why it takes the place of values that are there; None: it fills gaps.
    said
        What the file leaves unsaid, as arguments of `ingest.files.read`.

    Raises
    ------
    FileError
        The file cannot be read, or its intervals are no minutes or hours.
    StoreError
        The series is not in the catalogue, or its values there are on another scale.
    """
    path = Path(path)
    digest = ledger.digest_of(path)
    with connect(dsn) as conn:
        where = series.place(conn, station, inlet)
    place = {name: where.attributes[name] for name in ("inlet_height", "latitude", "longitude", "altitude")}
    ds = files.read(path, **{**place, **(said or {})}).assign_attrs(station=station, inlet=inlet)
    table = _table(path, ds)
    done = Filled(path.name, station, inlet, str(ds.attrs["source_format"]), samples=ds.sizes["time"])
    with connect(dsn) as conn:
        entry = ledger.begin(conn, digest, done, again=again or in_place is not None)
        if entry.finished is not None:
            return replace(done, written=entry.written, before=entry.finished)
        there = _there(conn, table, where, ds)
        with conn.transaction():
            written, replaced = _write(conn, table, ds, there, in_place)
            if in_place is not None and replaced:
                bounds = ds["time_bnds"].values
                window = read.instant(bounds[0, 0]), read.instant(bounds[-1, 1])
                ledger.replaced(conn, entry.number, in_place, window)
                ledger.applied(conn, entry.number)
            ledger.remember(conn, entry.number, 0, written)
            ledger.finish(conn, entry.number)
    return replace(done, written=written, replaced=replaced)


def _table(path: Path, ds: xr.Dataset) -> str:
    """Return the table whose intervals a file's are."""
    bounds = ds["time_bnds"].values.astype("datetime64[ns]").astype(np.int64)
    seconds = np.unique((bounds[:, 1] - bounds[:, 0]) // 10**9)
    name = _LENGTHS.get(int(seconds[0])) if seconds.size == 1 else None
    if name is None:
        raise FileError(
            f"{path} has intervals of {', '.join(map(str, seconds[:3]))} s; means are kept of 60 s and 3600 s"
        )
    if (bounds[:, 0] % (int(seconds[0]) * 10**9)).any():
        row = int(np.flatnonzero(bounds[:, 0] % (int(seconds[0]) * 10**9))[0])
        raise FileError(
            f"{path} has an interval that begins at {ds['time_bnds'].values[row, 0]}, not on a whole {name}"
        )
    return name


def _there(conn: Connection, table: str, where: series.Place, ds: xr.Dataset) -> xr.Dataset | None:
    """Return what the store has of the series in the file's time, None where it has nothing."""
    bounds = ds["time_bnds"].values
    window = read.instant(bounds[0, 0]), read.instant(bounds[-1, 1])
    try:
        return series.means(conn, table, where, species=None, bounds=window)
    except NoMeansError:
        return None


def _write(
    conn: Connection, table: str, ds: xr.Dataset, there: xr.Dataset | None, in_place: Reason | None
) -> tuple[Written, int]:
    """Write what is missing of each gas (or all), and return what became of the values and how many were replaced."""
    new = same = replaced = 0
    for gas in OBS.species(ds):
        values = np.isfinite(ds[gas].values)
        standing = np.zeros(values.size, dtype=bool)
        if there is not None and gas in OBS.species(there):
            scales = [found[gas].attrs["scale"] for found in (ds, there)]
            if scales[0] != scales[1]:
                raise StoreError(
                    f"{gas} is on scale {scales[0]!r} in the file, on {scales[1]!r} in the store: convert the file, or "
                    "say its scale if it is wrong there"
                )
            known = there["time"].values[np.isfinite(there[gas].values)]
            standing = np.isin(ds["time"].values, known)
        chosen = np.ones(values.size, dtype=bool) if in_place is not None else ~standing
        same += int((values & ~chosen).sum())
        replaced += int((standing & chosen).sum())
        if chosen.any():
            part = _one_gas(ds, gas).isel(time=np.flatnonzero(chosen))
            new += int(np.isfinite(part[gas].values).sum())
            run = QcRun(
                code_version=__version__,
                configuration_digest=str(ds.attrs["source_digest"]),
                inputs={
                    "archive": str(ds.attrs["source_file"]),
                    "format": str(ds.attrs["source_format"]),
                    **({} if in_place is None else {"who": in_place.who, "why": in_place.why}),
                },
            )
            products.write(conn, run, part if table == "minute" else None, part if table == "hour" else None)
    return Written(new, same), replaced


def _one_gas(ds: xr.Dataset, gas: str) -> xr.Dataset:
    """Return the dataset without its other gases."""
    others = tuple(f"{other}_" for other in OBS.species(ds) if other != gas)
    return ds.drop_vars([name for name in ds.data_vars if f"{name}_".startswith(others)] if others else [])
