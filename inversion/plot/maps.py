"""Maps of fluxes: a field, a difference of two, what the observations took off the uncertainty, a network."""

from __future__ import annotations

from typing import Any, Final

import cartopy.crs as ccrs
import numpy as np
import xarray as xr
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure

from inversion.plot import ground
from inversion.plot.ground import Places, PlotError

_WIDTH, _HEIGHT = 7.2, 5.2
_NEARLY_ALL: Final = 0.99
"""Quantile of the values that the scale of colours reaches to; what is beyond is drawn in its last colour."""


def flux(values: xr.DataArray, *, stations: Places | None = None, title: str = "", name: str = "flux") -> Figure:
    """Return a map of a field of fluxes.

    Parameters
    ----------
    values : xr.DataArray (latitude, longitude)
        With ``units``; a flux in mol m-2 s-1 is shown with the prefix its size asks for. Where some values are below
        zero the scale is symmetric about it, else cells without flux are blank.
    stations : mapping of name to (longitude, latitude), optional
    title : str
    name : str
        What it is, at the scale of colours.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    PlotError
        Where it is no field on latitude and longitude, or has no finite value.
    """
    signed = bool((values < 0).any())
    blank = not signed and bool((values != 0).any())
    return _map(
        values.where(values != 0) if blank else values, stations=stations, title=title, name=name, signed=signed
    )


def difference(
    after: xr.DataArray, before: xr.DataArray, *, stations: Places | None = None, title: str = "", name: str = ""
) -> Figure:
    """Return a map of after − before: orange where there is more, purple where there is less.

    Parameters
    ----------
    after, before : xr.DataArray (latitude, longitude)
        Of one grid and unit.
    stations, title, name
        As `flux`.

    Raises
    ------
    PlotError
        Where grids or units differ.
    """
    _alike(after, before, "The difference")
    change = (after - before).assign_attrs(units=str(after.attrs.get("units", "")))
    return _map(change, stations=stations, title=title, name=name or "difference", signed=True)


def uncertainty_reduction(
    after: xr.DataArray, before: xr.DataArray, *, stations: Places | None = None, title: str = ""
) -> Figure:
    """Return a map of 1 − σ_posterior/σ_prior, in percent: what the observations took off the uncertainty.

    Parameters
    ----------
    after, before : xr.DataArray (latitude, longitude)
        σ posterior and prior, of one grid and unit; cells where the prior has none are blank.
    stations, title
        As `flux`.

    Raises
    ------
    PlotError
        Where grids or units differ, or σ is below zero.
    """
    _alike(after, before, "The uncertainty reduction")
    if bool((after < 0).any()) or bool((before < 0).any()):
        raise PlotError("The uncertainty reduction", ["Some standard deviations are below zero: give σ, not a change."])
    share = (100.0 * (1.0 - after / before.where(before > 0))).assign_attrs(units="%")
    drawn = ground.field(share, "The uncertainty reduction")
    made = ground.figure(_WIDTH, _HEIGHT)
    axes = ground.on_ground(made, (1, 1, 1), drawn["longitude"].values, drawn["latitude"].values)
    top = max(5.0, float(np.ceil(np.nanmax(drawn.values, initial=0.0) / 5) * 5))
    mesh = ground.mesh(axes, drawn, ground.AMOUNT, Normalize(0, top))
    ground.bar(made, mesh, axes, "1 − σ posterior / σ prior [%]")
    ground.stations(axes, stations)
    ground.title(axes, title)
    return made


def network(design: xr.Dataset, *, stations: Places | None = None, title: str = "") -> Figure:
    """Return a map of stations that might be built, larger where they would add more, the chosen ones numbered.

    Parameters
    ----------
    design : xr.Dataset
        From `twins.design`; candidates with places.
    stations : mapping of name to (longitude, latitude), optional
        Those there are.
    title : str

    Raises
    ------
    PlotError
        Where candidates have no places.
    """
    x, y = design["longitude"].values, design["latitude"].values
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise PlotError("The network", ["Some candidates have no place: give them longitude and latitude."])
    gain, text = _gains(design)
    around = list((stations or {}).values())
    made = ground.figure(_WIDTH, _HEIGHT)
    lon, lat = np.array([*x, *(p[0] for p in around)]), np.array([*y, *(p[1] for p in around)])
    axes = ground.on_ground(made, (1, 1, 1), _wider(lon), _wider(lat))
    size = 30 + 270 * gain / max(float(gain.max()), 1e-12)
    dots = axes.scatter(
        x, y, s=size, c=gain, cmap=ground.AMOUNT, norm=Normalize(0, float(gain.max()) or 1.0), edgecolor="#333333",
        linewidth=0.6, transform=ccrs.PlateCarree(), zorder=5,
    )  # fmt: skip
    ground.bar(made, dots, axes, text)
    chosen = {str(one): step for step, one in enumerate(design["chosen"].values, 1)}
    for number, one in enumerate(design["candidate"].values):
        if str(one) in chosen:
            axes.text(
                x[number], y[number], str(chosen[str(one)]), ha="center", va="center", fontsize=8, fontweight="bold",
                transform=ccrs.PlateCarree(), zorder=7, path_effects=ground.HALO,
            )  # fmt: skip
    ground.stations(axes, stations)
    ground.title(axes, title)
    return made


def _gains(design: xr.Dataset) -> tuple[Any, str]:
    """Return what each candidate adds by the criterion of the design, and what that is."""
    by = str(design.attrs["by"])
    if by == "dofs":
        return design["dofs_with"].values - float(design["dofs"]), "added degrees of freedom"
    dim = str(design["stdev"].dims[0])
    place = [str(v) for v in design[dim].values].index(by) if dim in design.coords else int(by)
    before = design["stdev"].values[place]
    return 100 * (1 - design["stdev_with"].values[:, place] / before), f"taken off σ of {by} [%]"


def _wider(values: Any) -> Any:
    margin = max(1.0, 0.1 * float(np.ptp(values)))
    return np.array([values.min() - margin, values.max() + margin])


def _alike(after: xr.DataArray, before: xr.DataArray, what: str) -> None:
    faults = [
        f"Their {name} differ: bring both to one grid first."
        for name in ("latitude", "longitude")
        if name in after.coords and name in before.coords and not np.array_equal(after[name], before[name])
    ]
    units = [str(one.attrs.get("units", "")) for one in (after, before)]
    if units[0] != units[1]:
        faults.append(f"One is in {units[0]!r}, the other in {units[1]!r}: convert one.")
    if faults:
        raise PlotError(what, faults)


def _map(values: xr.DataArray, *, stations: Places | None, title: str, name: str, signed: bool) -> Figure:
    drawn = ground.field(values, f"The map of {name}")
    if not np.isfinite(drawn.values).any():
        raise PlotError(f"The map of {name}", ["It has no finite value."])
    shown, units = ground.scaled(drawn.values, str(values.attrs.get("units", "")))
    drawn = drawn.copy(data=shown)
    size = np.abs(shown[np.isfinite(shown)])
    top = float(np.quantile(size, _NEARLY_ALL)) or float(size.max()) or 1.0
    beyond = float(size.max()) > top
    norm = TwoSlopeNorm(0.0, -top, top) if signed else Normalize(0.0, top)
    made = ground.figure(_WIDTH, _HEIGHT)
    axes = ground.on_ground(made, (1, 1, 1), drawn["longitude"].values, drawn["latitude"].values)
    mesh = ground.mesh(axes, drawn, ground.SIGNED if signed else ground.AMOUNT, norm)
    ends = ("both" if signed else "max") if beyond else "neither"
    ground.bar(made, mesh, axes, ground.label(name, units), extend=ends)
    ground.stations(axes, stations)
    ground.title(axes, title)
    return made
