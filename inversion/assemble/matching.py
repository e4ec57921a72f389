"""Which footprint belongs to which observation: by site (or place), inlet height and time; what has none is counted."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import dask.array
import numpy as np
import xarray as xr

from inversion.datasets import FOOTPRINT
from inversion.errors import AssemblyError, FootprintError
from inversion.transport import read_footprints
from qc.schema import SchemaError, require

OUTCOMES: Final = ("site", "height", "time", "matched")
"""``site``: no footprint there at all; ``height``: none at its inlet; ``time``: none near its time."""
LOADED_BYTES: Final = 256 * 2**20
"""Footprints up to this size are read into memory; larger ones stay on disk and are read block by block."""
_FIELDS: Final = ("srr", "srr_time_resolved", "fraction_outside", "exit_share")
_ENDS: Final = ("end_longitude", "end_latitude", "end_height", "end_time")
_PLACE: Final = ("time", "release_lon", "release_lat", "release_height", "site")


@dataclass(frozen=True, slots=True)
class Matched:
    """Observations and their footprints, one to one.

    Attributes
    ----------
    observations : xr.Dataset (obs)
        Those that have a footprint, in their order.
    footprints : xr.Dataset (receptor)
        FOOTPRINT, one receptor an observation, in the same order; in memory or Dask.
    counts : xr.DataArray (site, outcome)
        Number of observations by what became of them: `OUTCOMES`.
    """

    observations: xr.Dataset
    footprints: xr.Dataset
    counts: xr.DataArray


def open_footprints(path: str | Path) -> list[xr.Dataset]:
    """Return the footprints of files, lazily: ours (netCDF, Zarr) and every form `transport.read_footprints` knows.

    Parameters
    ----------
    path : path or pattern

    Returns
    -------
    list of xr.Dataset
        FOOTPRINT.

    Raises
    ------
    FootprintError
        Where there is no file, or one is none.
    """
    found = sorted(glob.glob(str(path)))  # noqa: PTH207  patterns may be absolute
    if not found:
        raise FootprintError(str(path), ["There is no such file; compute footprints with `skyledger footprints run`."])
    return [_open(Path(file)) for file in found]


def _open(path: Path) -> xr.Dataset:
    if path.is_dir():
        ds = xr.open_zarr(path)
    else:
        try:
            with xr.open_dataset(path) as plain:
                ours = "srr" in plain.variables and "receptor" in plain.dims
        except (OSError, ValueError) as error:
            raise FootprintError(path.name, ["It is no netCDF file that can be read."]) from error
        if not ours:
            return read_footprints(path)
        ds = xr.open_dataset(path, chunks={})
    try:
        require(ds, FOOTPRINT)
    except SchemaError as error:
        raise FootprintError(path.name, error.faults) from error
    return ds


def match(
    observations: xr.Dataset,
    footprints: Iterable[xr.Dataset],
    *,
    minutes: float = 30.0,
    metres: float = 5.0,
    degrees: float = 0.1,
    heights: Mapping[str, float] | None = None,
    by_place: bool = False,
) -> Matched:
    """Find the footprint of each observation.

    Parameters
    ----------
    observations : xr.Dataset (obs)
        As `inversion.observations.gather` returns them.
    footprints : iterable of xr.Dataset
        FOOTPRINT; receptors of any number of sites, heights and times. One that names its sites is matched by name
        (capitals do not matter), another by place.
    minutes, metres, degrees : float
        Largest difference of time, of height above ground, and of longitude and latitude. The nearest in time is
        taken, among equals the nearest in height. Columns have no height.
    heights : mapping of site to float, optional
        Release heights [m] of sites whose receptors stand elsewhere than the inlet: mountains in a model's terrain.
    by_place : bool
        Names are not looked at: for aircraft and columns, which say where they are.

    Returns
    -------
    Matched

    Raises
    ------
    AssemblyError
        Where no observation has a footprint, or the footprints lie on different grids.
    """
    sources = list(footprints)
    if not sources:
        raise AssemblyError("The footprints", ["There are none."])
    for ds in sources:
        require(ds, FOOTPRINT)
    receptors = _Receptors.of(sources)
    if by_place:
        receptors = replace(receptors, site=np.full(receptors.site.size, ""))
    chosen, outcome = _search(observations, receptors, (minutes, metres, degrees), heights or {})
    counts = _counts(observations, outcome)
    kept = np.flatnonzero(chosen >= 0)
    if not kept.size:
        lost = ", ".join(f"{name} {int(counts.sel(outcome=name).sum())}" for name in OUTCOMES[:-1])
        raise AssemblyError(
            "Observations and footprints",
            [
                f"None of {observations.sizes['obs']} observations has a footprint; missed by: {lost}.",
                _nearest(observations, receptors),
            ],
        )
    rows = chosen[kept]
    taken = _take(sources, receptors.source[rows], receptors.row[rows])
    return Matched(observations.isel(obs=kept), taken, counts)


@dataclass(frozen=True, slots=True)
class _Receptors:
    """All receptors of all sources, in order of time."""

    time: np.ndarray
    site: np.ndarray
    longitude: np.ndarray
    latitude: np.ndarray
    height: np.ndarray
    source: np.ndarray
    row: np.ndarray

    @classmethod
    def of(cls, sources: list[xr.Dataset]) -> _Receptors:
        columns: dict[str, list[np.ndarray]] = {name: [] for name in cls.__dataclass_fields__}
        for number, ds in enumerate(sources):
            n = ds.sizes["receptor"]
            columns["time"].append(ds["time"].values.astype("datetime64[ns]"))
            named = ds["site"].values.astype(str) if "site" in ds.variables else np.full(n, "")
            columns["site"].append(np.char.lower(named))
            columns["longitude"].append(ds["release_lon"].values.astype(np.float64))
            columns["latitude"].append(ds["release_lat"].values.astype(np.float64))
            known = "release_height" in ds.variables
            columns["height"].append(ds["release_height"].values.astype(np.float64) if known else np.full(n, np.nan))
            columns["source"].append(np.full(n, number))
            columns["row"].append(np.arange(n))
        whole = {name: np.concatenate(parts) for name, parts in columns.items()}
        order = np.argsort(whole["time"], kind="stable")
        return cls(**{name: values[order] for name, values in whole.items()})


def _search(
    observations: xr.Dataset, receptors: _Receptors, within: tuple[float, float, float], heights: Mapping[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the receptor of every observation (−1: none) and the outcome."""
    minutes, metres, degrees = within
    time = observations["time"].values.astype("datetime64[ns]")
    tolerance = np.timedelta64(round(minutes * 60e9), "ns")
    first = np.searchsorted(receptors.time, time - tolerance, "left")
    last = np.searchsorted(receptors.time, time + tolerance, "right")
    sites = observations["site"].values.astype(str)
    lon, lat = observations["longitude"].values, observations["latitude"].values
    height = np.array(
        [heights.get(s, h) for s, h in zip(sites, observations["height"].values, strict=True)], np.float64
    )
    chosen, outcome = np.full(time.size, -1), np.full(time.size, OUTCOMES.index("time"))
    there: dict[tuple[str, float, float, float], tuple[np.ndarray, np.ndarray]] = {}
    for i in range(time.size):
        key = (sites[i].lower(), round(float(lon[i]), 4), round(float(lat[i]), 4), float(height[i]))
        if key not in there:
            place = _at_place(receptors, key, degrees)
            level = place[
                ~(np.abs(receptors.height[place] - key[3]) > metres)
            ]  # NaN on either side: no height to differ
            there[key] = (place, level)
        place, level = there[key]
        if not level.size:
            outcome[i] = OUTCOMES.index("height" if place.size else "site")
            continue
        near = level[np.searchsorted(level, first[i]) : np.searchsorted(level, last[i])]
        if near.size:
            apart = np.abs(receptors.time[near] - time[i]).astype(np.int64)
            off = np.nan_to_num(np.abs(receptors.height[near] - height[i]))
            chosen[i] = near[np.lexsort((off, apart))[0]]
            outcome[i] = OUTCOMES.index("matched")
    return chosen, outcome


def _at_place(receptors: _Receptors, key: tuple[str, float, float, float], degrees: float) -> np.ndarray:
    site, lon, lat, _ = key
    east = np.abs((receptors.longitude - lon + 180.0) % 360.0 - 180.0)
    near = (east <= degrees) & (np.abs(receptors.latitude - lat) <= degrees)
    named = (receptors.site != "") & (site != "")
    return np.flatnonzero(np.where(named, receptors.site == site, near))


def _counts(observations: xr.Dataset, outcome: np.ndarray) -> xr.DataArray:
    sites = observations["site"].values.astype(str)
    names = list(dict.fromkeys(sites.tolist()))
    table = [[int(((sites == name) & (outcome == k)).sum()) for k in range(len(OUTCOMES))] for name in names]
    return xr.DataArray(
        np.array(table).reshape(len(names), len(OUTCOMES)),
        dims=("site", "outcome"),
        coords={"site": names, "outcome": list(OUTCOMES)},
        name="number of observations",
    )


def _nearest(observations: xr.Dataset, receptors: _Receptors) -> str:
    time = observations["time"].values
    there = ", ".join(dict.fromkeys(name or "unnamed" for name in receptors.site.tolist()[:1000]))
    here = ", ".join(dict.fromkeys(observations["site"].values.astype(str).tolist()))
    return (
        f"Observations: {here} from {time.min()} to {time.max()}; "
        f"footprints: {there} from {receptors.time[0]} to {receptors.time[-1]}."
    )


def _take(sources: list[xr.Dataset], source: np.ndarray, row: np.ndarray) -> xr.Dataset:
    """Return the chosen receptors of several datasets as one, in the order of the observations."""
    used = sorted(set(source.tolist()))
    _require_one_grid([sources[k] for k in used])
    parts, order = [], []
    names = _shared([sources[k] for k in used])
    for k in used:
        mine = np.flatnonzero(source == k)
        kept = sources[k].drop_vars([n for n in sources[k].variables if n not in names]).isel(receptor=row[mine])
        parts.append(kept.reset_coords([n for n in names if n in kept.coords and n not in kept.dims]).drop_encoding())
        order.append(mine)
    if len(parts) == 1:
        whole = parts[0]
    else:
        aligned = [part.assign_coords({n: parts[0][n] for n in ("latitude", "longitude")}) for part in parts]
        whole = xr.concat(
            aligned,
            "receptor",
            data_vars="minimal",
            coords="minimal",
            compat="override",
            join="exact",
            combine_attrs="override",
        ).isel(receptor=np.argsort(np.concatenate(order), kind="stable"))
    size = sum(whole[name].nbytes for name in whole.data_vars)
    if size <= LOADED_BYTES:
        whole = whole.load()
    else:
        rows = max(1, int(LOADED_BYTES // 4 * whole.sizes["receptor"] // size))
        lazy = [n for n in whole.data_vars if isinstance(whole[n].data, dask.array.Array)]
        whole = whole.assign(
            {n: whole[n].chunk({d: rows if d == "receptor" else -1 for d in whole[n].dims}) for n in lazy}
        )
    return whole.set_coords([n for n in _PLACE if n in whole.variables])


def _shared(sources: list[xr.Dataset]) -> set[str]:
    """Return the variables that all sources have, of one shape."""
    names = set.intersection(*({str(n) for n in ds.variables} for ds in sources))
    kept = {n for n in names if n in (*_FIELDS, *_PLACE, "latitude", "longitude", "side", "exit_height")}
    if set(_ENDS) <= names and len({ds.sizes.get("particle") for ds in sources}) == 1:
        kept |= set(_ENDS)
    hours = [ds["hours_back"].values for ds in sources if "hours_back" in ds.variables]
    if len(hours) == len(sources) and all(np.array_equal(hours[0], h) for h in hours):
        return kept | {"hours_back"}
    return kept - {"srr_time_resolved"}


def _require_one_grid(sources: list[xr.Dataset]) -> None:
    first: dict[str, Any] = {name: sources[0][name].values for name in ("latitude", "longitude")}
    for ds in sources[1:]:
        for name, values in first.items():
            if ds[name].shape != values.shape or not np.allclose(ds[name].values, values, rtol=0, atol=1e-4):
                sentence = (
                    f"They lie on different grids: {name} {values[0]:g} to {values[-1]:g} ({values.size}) and "
                    f"{float(ds[name][0]):g} to {float(ds[name][-1]):g} ({ds.sizes[name]}); compute them on one."
                )
                raise AssemblyError("The footprints", [sentence])
