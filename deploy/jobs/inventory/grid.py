"""A ledger laid over a grid and over the year, as an inversion reads it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import station_agent
from deploy.errors import DeployError
from deploy.jobs import field
from deploy.jobs.inventory.ledgers import Ledger, read_ledger
from inversion import inventory as inventories
from inversion import masks, regions
from inversion.inventory import profiles
from inversion.inventory.fields import Timing, fields
from inversion.inventory.profiles import EVERY
from qc.document import REQUIRED, Table, load


@dataclass(frozen=True, slots=True)
class Grid:
    """What is laid out, checked."""

    folder: Path
    ledger: Ledger
    gas: str
    period: str
    categories: tuple[str, ...]
    latitude: np.ndarray
    longitude: np.ndarray
    provinces: tuple[str, ...]
    prefectures: tuple[str, ...]
    waters: tuple[Path, str] | None
    proxies: Mapping[str, tuple[Path, str]]
    profiles: tuple[Path, str] | None
    every: str
    clock: float
    output: Path
    document: Mapping[str, Any]


def read_grid(path: str | Path) -> Grid:
    """Return a configuration; paths in it are relative to its folder.

    Raises
    ------
    DeployError, ConfigError
        With every fault at once; for an unknown key with the nearest known one.
    """
    path = Path(path)
    faults: list[str] = []
    document = load(path)
    top = Table(document, path.name, faults)
    axes = top.table("grid")
    output = top.text("output", "prior.nc")
    grid = Grid(
        folder=path.parent,
        ledger=Ledger.of(top.table("ledger"), path.parent),
        gas=top.text("gas"),
        period=top.text("period"),
        categories=top.texts("categories"),
        latitude=_axis(axes, "latitude"),
        longitude=_axis(axes, "longitude"),
        provinces=top.texts("provinces"),
        prefectures=top.texts("prefectures"),
        waters=_named(top, "waters", path.parent, "code"),
        proxies=_proxies(top, path.parent),
        profiles=_named(top, "profiles", path.parent, "version"),
        every=top.text("every", "month", among=EVERY),
        clock=top.number("clock", 8.0, low=-12.0, high=14.0),
        output=path.parent / (output or "prior.nc"),
        document=document,
    )
    axes.close()
    top.close()
    if not grid.categories:
        faults.append(f'{path.name}.categories: name IPCC 2006 categories, as ["1.A.1", "1.A.3"]')
    if faults:
        msg = "; ".join(faults)
        raise DeployError(msg)
    return grid


def lay(grid: Grid) -> xr.Dataset:
    """Return the fluxes (`inversion.inventory.fields.fields`), with what they were made of in ``provenance``.

    Raises
    ------
    DeployError, InversionError
        One sentence: what is wrong, where, and what to do.
    """
    book = read_ledger(grid.ledger)
    book = inventories.beside(*(_whole(book, category) for category in grid.categories))
    known = (
        profiles.Profiles()
        if grid.profiles is None
        else profiles.read(_there(grid.profiles[0]), version=grid.profiles[1])
    )
    ds = fields(
        book,
        _parts(grid),
        grid.gas,
        categories=grid.categories,
        period=grid.period,
        proxies={category: _proxy(*source, grid) for category, source in grid.proxies.items()},
        timing=Timing(known, grid.every, grid.clock),
    )
    digests = {os.path.relpath(p, grid.folder): hashlib.sha256(p.read_bytes()).hexdigest() for p in _files(grid)}
    provenance = {
        "configuration": json.dumps(grid.document, sort_keys=True, default=str),
        "inputs_sha256": digests,
        "code_version": station_agent.__version__,
    }
    return ds.assign_attrs(provenance=json.dumps(provenance, ensure_ascii=False))


def masses(ds: xr.Dataset) -> list[str]:
    """Return what was laid out of each category, in kt over the period, as the file itself says."""
    seconds = (ds["time_bnds"][:, 1] - ds["time_bnds"][:, 0]) / np.timedelta64(1, "s")
    kilotonnes = regions.molar_mass_of(ds.attrs["gas"]) / 1e6
    lines = []
    for name, flux in ds.data_vars.items():
        if str(name).startswith("flux_") and "category" in flux.attrs:
            total = float((flux * seconds * ds["cell_area"]).sum()) * kilotonnes
            lines.append(f"  {name}: {total:.6g} kt, profile {flux.attrs['profile']}, proxy {flux.attrs['proxy']}")
    if ds.attrs["partly_inside"]:
        lines.append(f"  only partly inside the grid, and only that part laid out: {ds.attrs['partly_inside']}")
    if ds.attrs["without_value"]:
        lines.append(f"  no value: {ds.attrs['without_value']}")
    return lines


def _whole(book: inventories.Inventory, category: str) -> inventories.Inventory:
    own = book.select(category=category)
    return inventories.totals(book, category) if not own.entries or any(e.part for e in own.entries) else own


def _parts(grid: Grid) -> xr.Dataset:
    axes = (grid.latitude, grid.longitude)
    kinds = []
    if grid.provinces or not grid.prefectures:
        chosen = regions.fractions(*axes, codes=list(grid.provinces) or None)
        there = chosen["country_fraction"].any(["latitude", "longitude"]).values
        outside = chosen["country"].values[~there].astype(str)
        if grid.provinces and outside.size:
            msg = f"{', '.join(outside)} lie outside of the grid: widen [grid], or leave them out of provinces"
            raise DeployError(msg)
        kinds.append(chosen.isel(country=there))
    if grid.prefectures:
        kinds.append(masks.prefectures(*axes, provinces=list(grid.prefectures)))
    if grid.waters is not None:
        file, code = grid.waters
        kinds.append(masks.marine(*axes, masks.read_shapes(_there(file), code=code)))
    return kinds[0] if len(kinds) == 1 else masks.together(*kinds)


def _proxy(file: Path, variable: str, grid: Grid) -> np.ndarray:
    found = field.read(_there(file), variable, grid.latitude, grid.longitude, whose="[grid]")
    return np.asarray(found.values, dtype=np.float64)


def _axis(grid: Table, name: str) -> np.ndarray:
    table = grid.table(name)
    first, last = table.number("first"), table.number("last")
    step = table.number("step", REQUIRED, low=1e-4)
    table.close()
    centres = np.arange(first or 0.0, (last or 0.0) + (step or 1.0) / 2, step or 1.0)
    if centres.size < 2:
        grid.fault(name, f"goes from {first} to {last} by {step}: expected two centres of cells or more")
    return centres


def _named(top: Table, key: str, folder: Path, with_: str) -> tuple[Path, str] | None:
    """Return a table of a file and one word more."""
    if key not in top:
        return None
    table = top.table(key)
    file, word = table.text("file"), table.text(with_)
    table.close()
    return folder / (file or ""), str(word)


def _proxies(top: Table, folder: Path) -> dict[str, tuple[Path, str]]:
    table = top.table("proxy", {})
    found = {}
    for category in table.keys():  # noqa: SIM118  a Table is no dict
        one = table.table(category)
        found[category] = (folder / (one.text("file") or ""), str(one.text("variable")))
        one.close()
    return found


def _files(grid: Grid) -> list[Path]:
    named = [source for source in (grid.waters, grid.profiles, *grid.proxies.values()) if source is not None]
    ledger = [file for file in (grid.ledger.file, grid.ledger.mapping) if file is not None]
    return list(dict.fromkeys([*ledger, *(file for file, _ in named)]))


def _there(path: Path) -> Path:
    if not path.is_file():
        msg = f"there is no file {path.name}; paths are relative to the configuration"
        raise DeployError(msg)
    return path
