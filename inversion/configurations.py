"""An ensemble of configurations: priors, covariances, backgrounds, footprint sources, each solved and kept by name.

One posterior's σ holds if its own assumptions do; what other defensible assumptions give is the rest of the
uncertainty, and nothing but solving with them tells it. Configurations need not share their states: each is brought to
the same aggregates (provinces, sectors, years) by a W of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import dask
import numpy as np
import xarray as xr

from inversion.errors import InversionError
from inversion.findings import Finding, Grade, as_text, refusal
from inversion.posterior import Posterior
from inversion.problem import Problem
from inversion.solve.batch import batch

Given: TypeAlias = Problem | Callable[[], Problem]
"""A problem, or a function without arguments that assembles it where it is solved."""

_WIDE: Final = 1.0
"""Spread between configurations over the σ within them, from which on it is remarked on."""
_NUMBERS: Final = ("chi2_reduced", "dofs")


@dataclasses.dataclass(frozen=True, slots=True)
class _Member:
    """What is kept of one configuration."""

    values: Mapping[str, np.ndarray]
    numbers: Mapping[str, float]
    findings: tuple[Finding, ...]
    fault: str


def solve_each(
    problems: Mapping[str, Given],
    aggregate: xr.DataArray | Mapping[str, xr.DataArray],
    *,
    solver: Callable[..., Posterior] = batch,
    options: Mapping[str, Any] | None = None,
    scheduler: Any = None,
) -> xr.Dataset:
    """Solve every configuration and return its aggregates, with their median, range and spread.

    Parameters
    ----------
    problems : mapping of name to Problem, or to a function that returns one
        A function is called where the configuration is solved: on a worker, so that H is not sent there.
    aggregate : xr.DataArray (name, state), or a mapping of configuration to one
        W, with the coordinate of its first dimension and ``units``; the same aggregates in the same order for all.
    solver : callable
        One of `inversion.solve`.
    options : mapping, optional
        Its keyword arguments.
    scheduler : None, str, or distributed.Client
        None: one after another, here. "threads", "processes", "synchronous": Dask's of that name. A client: its
        cluster.

    Returns
    -------
    xr.Dataset
        On (``configuration``, the aggregates' dimension): ``inversion``, ``inversion_sigma``, ``prior``,
        ``prior_sigma``; ``inversion_covariance``, ``prior_covariance`` with a second, ``_cov`` dimension. On the
        aggregates, over the configurations that are usable: ``median``, ``low``, ``high``, ``lowest`` and ``highest``
        (which ones those are), ``spread`` (standard deviation between them), ``within`` (root mean square of their σ),
        ``combined_sigma`` = √(spread² + within²). On ``configuration``: ``usable``, ``reason`` (why not),
        ``chi2_reduced``, ``dofs``, ``findings`` (JSON). Attribute ``findings``: what the ensemble says about itself.

    Raises
    ------
    InversionError
        Without configurations, with aggregates that are not the same, or where none is usable, with the reasons.
    """
    matrices = _matrices(problems, aggregate)
    tasks = [
        dask.delayed(_member, pure=False)(problems[name], W, solver, dict(options or {}))
        for name, W in matrices.items()
    ]
    if scheduler is None:
        members = [_member(problems[name], W, solver, dict(options or {})) for name, W in matrices.items()]
    elif isinstance(scheduler, str):
        members = list(dask.compute(*tasks, scheduler=scheduler))
    else:
        members = scheduler.gather(scheduler.compute(tasks))
    faults = [f"{name}: {member.fault}" for name, member in zip(matrices, members, strict=True) if member.fault]
    if len(faults) == len(members):
        msg = f"No configuration is usable. {' '.join(faults)}"
        raise InversionError(msg)
    return _dataset(dict(zip(matrices, members, strict=True)), next(iter(matrices.values())))


def _matrices(
    problems: Mapping[str, Given], aggregate: xr.DataArray | Mapping[str, xr.DataArray]
) -> dict[str, xr.DataArray]:
    if not problems:
        msg = "There are no configurations to solve."
        raise InversionError(msg)
    if isinstance(aggregate, xr.DataArray):
        return dict.fromkeys(problems, aggregate)
    if set(aggregate) != set(problems):
        odd = sorted(set(aggregate) ^ set(problems))
        msg = f"Configurations and aggregates do not match: {', '.join(odd)} has only one of the two."
        raise InversionError(msg)
    matrices = {name: aggregate[name].transpose(..., "state") for name in problems}
    first_name, first = next(iter(matrices.items()))
    for name, W in matrices.items():
        dim = first.dims[0]
        same = W.dims == first.dims and W.attrs.get("units") == first.attrs.get("units") and W[dim].equals(first[dim])
        if not same:
            msg = (
                f"The aggregates of {name} are not those of {first_name}: expected the same {dim!r} in the same order "
                f"and units ({first.attrs.get('units')!r}, got {W.attrs.get('units')!r})."
            )
            raise InversionError(msg)
    return matrices


def _member(given: Given, W: xr.DataArray, solver: Callable[..., Posterior], options: dict[str, Any]) -> _Member:
    """Solve one; what is wrong with it is its own matter, and said."""
    k = W.shape[0]
    try:
        posterior = solver(given if isinstance(given, Problem) else given(), **options)
        covariance, prior = posterior.covariance(W).values, posterior.prior_covariance(W).values
        values = {"inversion": posterior.total(W).values, "prior": posterior.prior_total(W).values}
        diagnostics, findings = posterior.diagnostics, posterior.findings
    except InversionError as error:
        nothing = {"inversion": np.full(k, np.nan), "prior": np.full(k, np.nan)}
        matrices = dict.fromkeys(("inversion_covariance", "prior_covariance"), np.full((k, k), np.nan))
        return _Member(nothing | matrices, dict.fromkeys(_NUMBERS, np.nan), (), str(error))
    refused = refusal(findings)
    numbers = {name: float(getattr(diagnostics, name)) for name in _NUMBERS}
    return _Member(values | {"inversion_covariance": covariance, "prior_covariance": prior}, numbers, findings, refused)


def _dataset(members: Mapping[str, _Member], W: xr.DataArray) -> xr.Dataset:
    dim, units = str(W.dims[0]), str(W.attrs.get("units", "1"))
    square = ("configuration", dim, f"{dim}_cov")
    ds = xr.Dataset(coords={name: c for name, c in W.coords.items() if c.dims == (dim,)})
    ds = ds.assign_coords(configuration=list(members))
    if dim in W.coords:
        ds = ds.assign_coords({f"{dim}_cov": W[dim].values})
    for name in ("inversion", "prior"):
        matrix = np.stack([m.values[f"{name}_covariance"] for m in members.values()])
        ds[name] = (square[:2], np.stack([m.values[name] for m in members.values()]), {"units": units})
        ds[f"{name}_sigma"] = (square[:2], np.sqrt(np.diagonal(matrix, axis1=1, axis2=2)), {"units": units})
        ds[f"{name}_covariance"] = (square, matrix, {"units": f"({units})2"})
    ds["usable"] = ("configuration", np.array([not m.fault for m in members.values()]))
    ds["reason"] = ("configuration", np.array([m.fault for m in members.values()], dtype=object))
    for name in _NUMBERS:
        ds[name] = ("configuration", np.array([m.numbers[name] for m in members.values()]), {"units": "1"})
    ds["findings"] = ("configuration", np.array([as_text(m.findings) for m in members.values()], dtype=object))
    ds = ds.assign(_summary(ds, dim, units))
    return ds.assign_attrs({**W.attrs, "findings": as_text(_findings(ds, dim))})


def _summary(ds: xr.Dataset, dim: str, units: str) -> dict[str, xr.DataArray]:
    chosen = ds.isel(configuration=np.flatnonzero(ds["usable"].values))
    values, names = chosen["inversion"].values, chosen["configuration"].values.astype(object)
    spread = values.std(axis=0, ddof=1) if len(values) > 1 else np.full(values.shape[1], np.nan)
    within = np.sqrt((chosen["inversion_sigma"].values ** 2).mean(axis=0))
    columns = {
        "median": np.median(values, axis=0),
        "low": values.min(axis=0),
        "high": values.max(axis=0),
        "spread": spread,
        "within": within,
        "combined_sigma": np.hypot(np.nan_to_num(spread), within),
    }
    found = {name: xr.DataArray(column, dims=dim, attrs={"units": units}) for name, column in columns.items()}
    found["lowest"] = xr.DataArray(names[values.argmin(axis=0)], dims=dim)
    found["highest"] = xr.DataArray(names[values.argmax(axis=0)], dims=dim)
    return found


def _findings(ds: xr.Dataset, dim: str) -> tuple[Finding, ...]:
    found = []
    out = [
        f"{name} ({reason})"
        for name, reason in zip(ds["configuration"].values, ds["reason"].values, strict=True)
        if reason
    ]
    if out:
        sentence = (
            f"{len(out)} of {ds.sizes['configuration']} configurations are left out of the range: {'; '.join(out)}"
        )
        found.append(Finding(Grade.WARN, "left_out", sentence))
    if int(ds["usable"].sum()) < 2:
        found.append(Finding(Grade.WARN, "one_configuration", "One configuration is usable: it has no range."))
        return tuple(found)
    ratio = (ds["spread"] / ds["within"]).values
    wide = np.flatnonzero(ratio > _WIDE)
    if wide.size:
        labels = ds[dim].values if dim in ds.coords else np.arange(ratio.size)
        said = ", ".join(
            f"{labels[i]} ({ds['lowest'].values[i]} to {ds['highest'].values[i]}, {ratio[i]:.1f} σ)" for i in wide
        )
        sentence = f"Configurations lie further apart than the posterior's own σ says: {said}; state the range with it."
        found.append(Finding(Grade.WARN, "spread", sentence))
    return tuple(found)
