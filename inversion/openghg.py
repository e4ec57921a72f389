"""Prepared cases of openghg_inversions: observations, sensitivities of regions and boundary terms in one file.

Such a file holds y (`Yobs`), its errors, H by region (`xsensitivity`) and H_b (`bcsensitivity`), both for scalings of
the prior, and a posterior of its own, which is not used. In some files the boundary terms are in mol mol-1 though their
units say 1e-12 mol/mol: that shows in a baseline twelve decades below what was observed, is mended, and said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr

from inversion.covariance import Diagonal
from inversion.errors import CaseError
from inversion.findings import Finding, Grade
from inversion.problem import Problem
from qc.units import TO_MOLE_FRACTION

UNITS: Final = {
    "1e-12 mol/mol": "pmol mol-1",
    "1e-9 mol/mol": "nmol mol-1",
    "1e-09 mol/mol": "nmol mol-1",
    "1e-6 mol/mol": "umol mol-1",
    "1e-06 mol/mol": "umol mol-1",
    "mol/mol": "mol mol-1",
}
"""Units as these files write them -> as `qc.units` does."""
_NEEDED: Final = ("Yobs", "Yerror", "Ytime", "xsensitivity", "bcsensitivity", "sitenames", "siteindicator")
_DIMS: Final = {"Yobs": 1, "Yerror": 1, "Ytime": 1, "xsensitivity": 2, "bcsensitivity": 2}
_NEAR: Final = 5.0
"""A baseline within this factor of the lower observations is one."""
_TRACE_UNITS: Final = ("mol mol-1", "umol mol-1", "nmol mol-1", "pmol mol-1")
"""Units a baseline may be in by mistake."""
_VANISHING: Final = 1e-9
"""A prior signal below this share of the observations' spread is in other units than they are."""


@dataclass(frozen=True, slots=True)
class Case:
    """A prepared case, its units made consistent.

    Attributes
    ----------
    name : str
        Name of the file.
    y : xr.DataArray (obs)
        Mole fractions; coordinates ``time``, ``site``; units in its attributes.
    y_error : np.ndarray (n,)
        Measurement error, one sigma, in the units of y.
    model_error : np.ndarray (n,)
        Smallest error of the model, one sigma, in the units of y.
    H : xr.DataArray (obs, state)
        y per scaling of a region's prior flux.
    H_b : xr.DataArray (obs, boundary)
        y per scaling of a boundary term's prior.
    x_a : xr.DataArray (state)
        Ones; coordinates ``region`` (number of the basis function) and, where the file has it, the ``centre`` of its
        prior flux.
    b_a : xr.DataArray (boundary)
        Ones; coordinate ``period``, the month that sees the term, empty where none or several do.
    attributes : dict
        Those of the file.
    findings : tuple of Finding
        What reading it showed.
    """

    name: str
    y: xr.DataArray
    y_error: np.ndarray
    model_error: np.ndarray
    H: xr.DataArray
    H_b: xr.DataArray
    x_a: xr.DataArray
    b_a: xr.DataArray
    attributes: Mapping[str, Any]
    findings: tuple[Finding, ...]

    def problem(self, *, sigma_x: float = 1.0, sigma_b: float = 0.05) -> Problem:
        """Return the inverse problem with independent errors.

        R = diag(y_error² + model_error²), B = σ_x² I, B_b = σ_b² I.

        Parameters
        ----------
        sigma_x, sigma_b : float
            Prior standard deviations of the scalings.

        Returns
        -------
        Problem
        """
        return Problem(
            y=self.y,
            H=self.H,
            R=Diagonal(self.y_error**2 + self.model_error**2, name="R"),
            x_a=self.x_a,
            B=Diagonal(np.full(self.x_a.size, sigma_x**2), name="B"),
            H_b=self.H_b,
            b_a=self.b_a,
            B_b=Diagonal(np.full(self.b_a.size, sigma_b**2), name="B_b"),
            name=self.name,
            provenance={"input": self.name, "sigma_x": sigma_x, "sigma_b": sigma_b, **_text(self.attributes)},
            findings=self.findings,
        )


def read_case(path: str | Path, *, model_error: float | None = None) -> Case:
    """Read a prepared case.

    Parameters
    ----------
    path : path
        netCDF file written by openghg_inversions.
    model_error : float, optional
        Model error (one sigma, in the units of Yobs) where the file has no `min_model_error`, or instead of it.

    Returns
    -------
    Case

    Raises
    ------
    CaseError
        Where it is no such file, or its units cannot be made consistent.
    """
    path = Path(path)
    try:
        with xr.open_dataset(path) as file:
            ds = file.load()
    except (OSError, ValueError) as error:
        reason = "It is no netCDF file that can be read." if path.exists() else f"There is no file {path}."
        raise CaseError(path.name, [reason]) from error
    faults = _faults(ds, model_error)
    if faults:
        raise CaseError(path.name, faults)
    units = UNITS[ds["Yobs"].attrs["units"]]
    boundary, noticed = _boundary(ds, units, path.name)
    y = _observations(ds, units)
    H = xr.DataArray(ds["xsensitivity"].values, dims=("obs", "state"), attrs={"units": units})
    floor = ds["min_model_error"].values if model_error is None else np.full(y.size, model_error)
    return Case(
        name=path.name,
        y=y,
        y_error=ds["Yerror"].values.astype(np.float64),
        model_error=np.broadcast_to(floor, y.size).astype(np.float64),
        H=H,
        H_b=xr.DataArray(boundary, dims=("obs", "boundary"), attrs={"units": units}),
        x_a=_ones("state", _regions(ds, H.sizes["state"])),
        b_a=_ones("boundary", {"period": _periods(boundary, y["time"].values)}),
        attributes=dict(ds.attrs),
        findings=(*noticed, *_own_posterior(ds)),
    )


def _faults(ds: xr.Dataset, model_error: float | None) -> list[str]:
    missing = [name for name in _NEEDED if name not in ds.variables]
    if missing:
        has = ", ".join(sorted(map(str, ds.data_vars))[:8]) or "none"
        return [f"It is no case of openghg_inversions: variables are missing: {', '.join(missing)}; it has {has}."]
    faults = [
        f"{name!r} has {ds[name].ndim} dimensions, expected {n}." for name, n in _DIMS.items() if ds[name].ndim != n
    ]
    sizes = {ds[name].shape[0] for name in _DIMS if ds[name].ndim}
    if len(sizes) > 1:
        faults.append(f"Observations and sensitivities have different lengths: {sorted(sizes)}.")
    if model_error is None and "min_model_error" not in ds.variables:
        faults.append("It has no 'min_model_error'; state the error of the model (model_error=).")
    units = ds["Yobs"].attrs.get("units")
    if units not in UNITS:
        faults.append(f"'Yobs' has the units {units!r}, expected one of {', '.join(map(repr, UNITS))}.")
    for name in ("Yerror", "xsensitivity", "min_model_error"):
        theirs = ds[name].attrs.get("units", units) if name in ds.variables else units
        if theirs != units:
            faults.append(f"{name!r} is in {theirs!r} but 'Yobs' in {units!r}; convert one of them.")
    return faults or list(_signal_faults(ds))


def _signal_faults(ds: xr.Dataset) -> list[str]:
    """Notice sensitivities whose units cannot be those of the observations."""
    spread = float(np.nanstd(ds["Yobs"].values))
    signal = float(np.nanmax(np.abs(ds["xsensitivity"].values.sum(axis=1))))
    if 0 < signal < _VANISHING * spread:
        sentence = (
            f"The prior signal ('xsensitivity') reaches {signal:.2g} at most while the observations vary by "
            f"{spread:.2g}: they are not in the same units, though both say so."
        )
        return [sentence]
    return []


def _boundary(ds: xr.Dataset, units: str, file: str) -> tuple[np.ndarray, list[Finding]]:
    """Return H_b in the units of y, by magnitude where its own units cannot be true."""
    values = ds["bcsensitivity"].values.astype(np.float64)
    stated = ds["bcsensitivity"].attrs.get("units")
    baseline = float(np.median(values.sum(axis=1)))
    low = float(np.quantile(ds["Yobs"].values, 0.1))
    if not np.isfinite([baseline, low]).all() or low <= 0:
        return values, []
    ratio = low / baseline if baseline > 0 else np.inf
    if 1 / _NEAR < ratio < _NEAR:
        return values, []
    for name in _TRACE_UNITS:
        scale = TO_MOLE_FRACTION[name] / TO_MOLE_FRACTION[units]
        if scale != 1.0 and 1 / _NEAR < ratio / scale < _NEAR:
            sentence = (
                f"The boundary terms are in {name}, not in {stated or 'the units of the observations'} as "
                f"{'they say' if stated else 'expected'}: their baseline of {baseline:.3g} beside observations from "
                f"{low:.3g} {units} shows a factor of {scale:.0e}; they were multiplied by it."
            )
            return values * scale, [Finding(Grade.INFORM, "boundary_units", sentence)]
    sentence = (
        f"The baseline of the boundary terms is {baseline:.3g} (they say {stated!r}) while a tenth of the observations "
        f"lies below {low:.3g} {units}, and no unit of a mole fraction explains the factor {ratio:.3g}; mend "
        f"'bcsensitivity'."
    )
    raise CaseError(file, [sentence])


def _observations(ds: xr.Dataset, units: str) -> xr.DataArray:
    names = ds["sitenames"].values.astype(str)
    sites = names[ds["siteindicator"].values.astype(int)]
    coords = {"time": ("obs", ds["Ytime"].values.astype("datetime64[ns]")), "site": ("obs", sites)}
    return xr.DataArray(ds["Yobs"].values.astype(np.float64), dims="obs", coords=coords, attrs={"units": units})


def _ones(dim: str, coords: dict[str, list[str]]) -> xr.DataArray:
    size = len(next(iter(coords.values())))
    named = {name: (dim, np.array(values)) for name, values in coords.items()}
    return xr.DataArray(np.ones(size), dims=dim, coords=named, attrs={"units": "1"})


def _regions(ds: xr.Dataset, size: int) -> dict[str, list[str]]:
    """Return the names of the basis functions, and where the middle of each one's prior flux lies."""
    regions = {"region": [str(number) for number in range(size)]}
    if not {"basisfunctions", "fluxapriori", "lat", "lon"} <= set(ds.variables):
        return regions
    basis, flux = ds["basisfunctions"].values, np.clip(ds["fluxapriori"].values.astype(np.float64), 0.0, None)
    if not np.array_equal(np.unique(basis), np.arange(size)):
        return regions
    latitude, longitude = np.meshgrid(ds["lat"].values, ds["lon"].values, indexing="ij")
    weights = [np.where(basis == number, flux, 0.0) for number in range(size)]
    if not all(weight.sum() > 0 for weight in weights):
        return regions
    regions["centre"] = [
        f"{np.average(latitude, weights=weight):.0f}°N {np.average(longitude, weights=weight):.0f}°E"
        for weight in weights
    ]
    return regions


def _periods(H_b: np.ndarray, time: np.ndarray) -> list[str]:
    """Return the one month in which each boundary term is seen, empty where it is none or several."""
    months = time.astype("datetime64[M]")
    seen = [np.unique(months[column != 0]) for column in H_b.T]
    return [str(month[0]) if month.size == 1 else "" for month in seen]


def _own_posterior(ds: xr.Dataset) -> list[Finding]:
    if str(ds.attrs.get("Convergence", "")).lower() != "failed":
        return []
    return [
        Finding(
            Grade.INFORM, "own_posterior", "The file's own posterior says that it did not converge; it is not used."
        )
    ]


def _text(attributes: Mapping[str, Any]) -> dict[str, str]:
    return {f"file: {key}": str(value) for key, value in attributes.items() if np.ndim(value) == 0}
