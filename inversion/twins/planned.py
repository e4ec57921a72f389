"""Stations that are not built yet: observations without values, and their part of an assembled problem."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from inversion.assemble import Assembled, ErrorModel, Stream, jacobian
from inversion.assemble.sensitivity import SPARSE_BYTES
from inversion.covariance import BlockDiagonal
from inversion.errors import AssemblyError
from inversion.observations import in_hours
from inversion.problem import Problem
from inversion.twins.design import Candidate

_PLACE = {"longitude": "lon", "latitude": "lat", "height": "height"}
_SAME = 1e-3
"""Degrees, or metres, within which receptors stand at one place."""


def planned(
    name: str,
    footprints: Sequence[xr.Dataset],
    like: Stream,
    *,
    start: np.datetime64,
    end: np.datetime64,
    uncertainty: float,
    error: ErrorModel,
    hours: tuple[float, float] | None = None,
) -> Stream:
    """Return what a station that is not built would observe: an hour for each of its footprints, the values unknown.

    Parameters
    ----------
    name : str
        Its name, whatever its footprints call it.
    footprints : sequence of xr.Dataset
        FOOTPRINT of its place; receptors of one height.
    like : Stream
        In situ observations of the same gas: units, and a value and a scatter within the hour (their medians) that
        stand for those unknown.
    start, end : datetime64
        Window, the end not included.
    uncertainty : float
        Of a value, in the units of `like`.
    error : ErrorModel
        In the units of `like`.
    hours : (start, end), optional
        Local solar hours to be used, past midnight where start > end.

    Returns
    -------
    Stream

    Raises
    ------
    AssemblyError
        Where no footprint lies in window and hours, or there are several places.
    """
    parts = [ds.isel(receptor=_wanted(ds, start, end, hours)) for ds in footprints]
    parts = [ds for ds in parts if ds.sizes["receptor"]]
    if not parts:
        raise AssemblyError(f"The candidate {name!r}", ["None of its footprints lies in the window and the hours."])
    together = parts[0] if len(parts) == 1 else xr.concat(parts, "receptor", data_vars="minimal", join="exact")
    together = together.isel(receptor=np.argsort(together["time"].values, kind="stable"))
    place = {key: together[f"release_{short}"].values for key, short in _PLACE.items()}
    apart = [key for key, values in place.items() if np.ptp(values) > _SAME]
    if apart:
        fault = f"Its receptors differ in {', '.join(apart)}; a candidate is one place: give each a file of its own."
        raise AssemblyError(f"The candidate {name!r}", [fault])
    return Stream(like.gas, "in situ", _unknown(name, together, place, like, uncertainty), together, error)


def part(assembled: Assembled, streams: int, *, budget: int = SPARSE_BYTES) -> tuple[Problem, list[Candidate]]:
    """Return the problem of the first streams alone, and the others as candidates, all on the same unknowns.

    Parameters
    ----------
    assembled : Assembled
        Of the streams there are, followed by one for each candidate.
    streams : int
        How many there are.
    budget : int
        Bytes a sparse H may take.

    Returns
    -------
    (Problem, list of Candidate)
        For `twins.design`. H of each is computed anew: what `assembled` cost is paid twice.
    """
    whole, rows, blocks = assembled.problem, assembled.streams, assembled.blocks
    sizes = [stream.observations.sizes["obs"] for stream in rows]
    ends = np.cumsum(sizes)
    own = slice(0, int(ends[streams - 1]))
    errors = [stream.error.covariance(stream.observations) for stream in rows]
    candidates = []
    for k in range(streams, len(rows)):
        place = rows[k].observations
        candidates.append(
            Candidate(
                str(place["site"].values[0]),
                jacobian([rows[k]], blocks, budget=budget),
                errors[k],
                None if whole.H_b is None else whole.H_b.rows(slice(int(ends[k - 1]), int(ends[k]))),
                float(place["longitude"][0]),
                float(place["latitude"][0]),
            )
        )
    return Problem(
        y=whole.y.isel(obs=own),
        H=jacobian(rows[:streams], blocks, budget=budget),
        R=errors[0] if streams == 1 else BlockDiagonal(errors[:streams], name="R"),
        x_a=whole.x_a,
        B=whole.B,
        H_b=None if whole.H_b is None else whole.H_b.rows(own),
        b_a=whole.b_a,
        B_b=whole.B_b,
        y_units=whole.y_units,
        x_units=whole.x_units,
        b_units=whole.b_units,
        name=whole.name,
        provenance=whole.provenance,
    ), candidates


def _wanted(ds: xr.Dataset, start: np.datetime64, end: np.datetime64, hours: tuple[float, float] | None) -> np.ndarray:
    time = ds["time"].values
    return np.flatnonzero((time >= start) & (time < end) & in_hours(time, ds["release_lon"].values, hours))


def _usual(stdev: np.ndarray) -> float:
    known = stdev[np.isfinite(stdev)]
    return float(np.median(known)) if known.size else float("nan")


def _unknown(
    name: str, footprints: xr.Dataset, place: dict[str, np.ndarray], like: Stream, uncertainty: float
) -> xr.Dataset:
    n = footprints.sizes["receptor"]
    source = like.observations["mole_fraction"]
    about = {"units": like.units}
    return xr.Dataset(
        {
            "mole_fraction": ("obs", np.full(n, float(np.median(source.values))), source.attrs),
            "uncertainty": ("obs", np.full(n, uncertainty), about),
            "stdev": ("obs", np.full(n, _usual(like.observations["stdev"].values)), about),
            "n": ("obs", np.ones(n), {"units": "1"}),
        },
        coords={
            "time": ("obs", footprints["time"].values),
            "site": ("obs", np.full(n, name)),
            "inlet": ("obs", np.full(n, f"{place['height'][0]:g}m")),
            **{key: ("obs", values) for key, values in place.items()},
            "altitude": ("obs", np.full(n, np.nan)),
        },
    )
