"""What a configured inversion is worth, without its observed values: twin experiments, and stations to come."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

from deploy.errors import DeployError
from deploy.jobs.inversion.inputs import Inputs, inside
from deploy.jobs.inversion.run import assemble, labels
from deploy.jobs.inversion.settings import Settings
from inversion import twins


def twin_experiment(
    settings: Settings,
    *,
    draws: int,
    seed: int,
    prior_factor: float = 1.0,
    noise_factor: float = 1.0,
    noise_hours: float = 0.0,
) -> xr.Dataset:
    """Return a twin experiment (`inversion.twins.run`) on the problem of a configuration.

    Parameters
    ----------
    settings : Settings
    draws, seed : int
    prior_factor, noise_factor, noise_hours : float
        See `inversion.twins.scaled_nature`.

    Returns
    -------
    xr.Dataset
        On ``total``: the regions the configuration totals by, else the sectors; never totals that are sums of others.
    """
    assembled, W = assemble(settings)
    problem = assembled.problem
    nature = twins.scaled_nature(problem, prior_factor=prior_factor, noise_factor=noise_factor, noise_hours=noise_hours)
    result = twins.run(problem, _apart(_named(W)), rng=np.random.default_rng(seed), draws=draws, nature=nature)
    return result.assign_attrs(provenance=json.dumps({**problem.provenance, "seed": seed}, ensure_ascii=False))


def design(settings: Settings, *, by: str = twins.DOFS, pick: int = 1) -> xr.Dataset:
    """Return what each [[candidate]] of a configuration would add (`inversion.twins.design`).

    Parameters
    ----------
    settings : Settings
        A quadtree is made for the stations there are and all candidates together.
    by : str
        "dofs", or a total whose σ is to become small: its label ("ch4 CN-ZJ") or the end of it.
    pick : int

    Returns
    -------
    xr.Dataset

    Raises
    ------
    DeployError, InversionError
        One sentence: what is wrong, where, and what to do.
    """
    assembled, W = assemble(settings, planned=True)
    network, candidates = twins.part(assembled, len(settings.observations), budget=settings.sparse_bytes)
    W = _named(W)
    result = twins.design(network, candidates, W, by=_label(by, W["total"].values.tolist()), pick=pick)
    return result.assign_attrs(provenance=json.dumps(network.provenance, ensure_ascii=False))


def places(settings: Settings, region: str, count: int) -> list[tuple[float, float]]:
    """Return places (longitude, latitude) spread over a region on the grid of a configuration's footprints."""
    grid = Inputs(settings).streams()[0].footprints[["latitude", "longitude"]]
    return twins.places(inside(grid), region, count)


def _named(W: xr.DataArray) -> xr.DataArray:
    return W.assign_coords(total=labels(W))


def _apart(W: xr.DataArray) -> xr.DataArray:
    """Return the regions, else the sectors, else what there is: totals of which none is a sum of others."""
    regions = (W["sector"] == "all").values & (W["region"] != "domain").values
    sectors = (W["sector"] != "all").values
    return W.isel(total=np.flatnonzero(regions if regions.any() else sectors))


def _label(by: str, known: list[str]) -> str:
    if by == twins.DOFS or by in known:
        return by
    ending = [label for label in known if label.endswith(f" {by}")]
    if len(ending) != 1:
        msg = f"the total {by!r} is {'several' if ending else 'none'} of: dofs, {', '.join(known)}; name one"
        raise DeployError(msg)
    return ending[0]
