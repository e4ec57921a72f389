"""What a configuration names, opened: observations, footprints, fluxes, fields; every file with its digest."""

from __future__ import annotations

import dataclasses
import functools
import glob
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from deploy.errors import DeployError
from deploy.jobs import field
from deploy.jobs.inversion.settings import (
    BackgroundSettings,
    BasisSettings,
    CandidateSettings,
    LedgerSettings,
    Observations,
    SectorSettings,
    Settings,
)
from ingest import files as archives
from ingest import read as store
from inversion import inventory, priors, regions, twins
from inversion.assemble import Basis, ErrorModel, Sector, Stream, basis, from_columns, from_track, information, match
from inversion.assemble.background import Background, Baseline, Curtain, Endpoints
from inversion.assemble.matching import open_footprints
from inversion.assemble.observed import PerSite
from inversion.datasets import FLUX_UNITS
from inversion.inventory import gridding
from inversion.observations import gather
from inversion.transport.columns import read_columns
from qc import averaging
from qc.schema import OBS
from qc.units import QUANTITIES


@dataclass
class Inputs:
    """Opens what settings name, and remembers the digests of the files."""

    settings: Settings
    digests: dict[str, str] = dataclasses.field(default_factory=dict)

    def paths(self, pattern: str) -> list[Path]:
        """Return the files of a pattern, relative to the configuration's folder, and note their digests."""
        found = sorted(glob.glob(str(self.settings.folder / pattern)))  # noqa: PTH207  patterns may be absolute
        if not found:
            msg = f"there is no file {self.settings.folder / pattern}"
            raise DeployError(msg)
        for path in map(Path, found):
            if str(path) not in self.digests:
                self.digests[str(path)] = digest(path)
        return [Path(path) for path in found]

    def streams(self) -> list[Stream]:
        """Return every kind of observations with its footprints."""
        return [self._stream(observations) for observations in self.settings.observations]

    def _stream(self, wanted: Observations) -> Stream:
        obs, counts, columns = self._observations(wanted)
        opened = [ds for path in self.paths(wanted.footprints) for ds in open_footprints(path)]
        obs = obs.assign_coords(row=("obs", np.arange(obs.sizes["obs"])))
        found = match(
            obs,
            opened,
            heights=dict(wanted.heights),
            minutes=wanted.minutes,
            metres=wanted.metres,
            degrees=wanted.degrees,
            by_place=wanted.kind != "in situ",
        )
        error = ErrorModel(wanted.representation, wanted.transport, wanted.correlation_hours, wanted.within)
        return Stream(
            gas=wanted.gas,
            kind=wanted.kind,
            observations=found.observations.drop_vars("row"),
            footprints=found.footprints,
            error=error,
            counts={**counts, "footprints": found.counts},
            columns=None if columns is None else columns.isel(obs=found.observations["row"].values),
        )

    def planned(self, streams: list[Stream]) -> list[Stream]:
        """Return what each candidate would observe; what it leaves unsaid is as the first in situ stream of its gas."""
        if not self.settings.candidates:
            msg = f"{self.settings.name}: has no [[candidate]] tables; each needs a name, footprints and an uncertainty"
            raise DeployError(msg)
        return [self._candidate(candidate, streams) for candidate in self.settings.candidates]

    def _candidate(self, wanted: CandidateSettings, streams: list[Stream]) -> Stream:
        pairs = zip(self.settings.observations, streams, strict=True)
        alike = [pair for pair in pairs if pair[1].kind == "in situ" and wanted.gas in (None, pair[1].gas)]
        if len({stream.gas for _, stream in alike}) != 1:
            gases = ", ".join(dict.fromkeys(s.gas for s in streams if s.kind == "in situ")) or "nothing"
            msg = f"the candidate {wanted.name!r} has the gas {wanted.gas!r}; in situ is observed: {gases}; name one"
            raise DeployError(msg)
        observations, like = alike[0]
        own = (wanted.representation, wanted.transport)
        by_site = [isinstance(e, Mapping) and mine is None for e, mine in zip(_errors(like), own, strict=True)]
        if any(by_site):
            msg = (
                f"the errors of {like.gas} are stated by site; give the candidate {wanted.name!r} its own: "
                "error = { representation = ..., transport = ... }"
            )
            raise DeployError(msg)
        representation, transport = (e if mine is None else mine for e, mine in zip(_errors(like), own, strict=True))
        lasting = like.error.correlation_hours if wanted.correlation_hours is None else wanted.correlation_hours
        return twins.planned(
            wanted.name,
            [ds for path in self.paths(wanted.footprints) for ds in open_footprints(path)],
            like,
            start=self.settings.start,
            end=self.settings.end,
            uncertainty=wanted.uncertainty,
            error=ErrorModel(representation, transport, lasting, like.error.within),
            hours=observations.hours if wanted.hours is None else wanted.hours,
        )

    def _observations(self, wanted: Observations) -> tuple[xr.Dataset, dict[str, xr.DataArray], xr.Dataset | None]:
        if wanted.kind == "in situ":
            chosen = gather(
                list(self._series(wanted)),
                wanted.gas,
                hours=wanted.hours,
                site_hours=dict(wanted.site_hours),
                inlet=wanted.inlet,
                minimum=wanted.minimum,
            )
            return chosen.observations, {"selection": chosen.counts}, None
        assert wanted.files is not None
        if wanted.kind == "aircraft":
            parts = [self._track(path, wanted) for path in self.paths(wanted.files)]
            return self._window(_joined(parts), "obs"), {}, None
        read = [read_columns(path, wanted.gas) for path in self.paths(wanted.files)]
        columns = self._window(_joined([ds.drop_vars(["obs", "level"], errors="ignore") for ds in read]), "obs")
        units = QUANTITIES[wanted.gas].unit if wanted.gas in QUANTITIES else "mol mol-1"
        return from_columns(columns, site=str(wanted.place.get("station", "column")), units=units), {}, columns

    def _series(self, wanted: Observations) -> Iterator[xr.Dataset]:
        if wanted.files is not None:
            for path in self.paths(wanted.files):
                yield self._window(_series(path, wanted), "time")
            return
        assert wanted.store is not None
        first, last = self.settings.start, self.settings.end
        for station in store.stations(wanted.store):
            for inlet in station.inlets:
                place = {"station": station.name, "inlet": inlet.name}
                yield store.hourly(wanted.store, **place, species=[wanted.gas], start=first, end=last)

    def _track(self, path: Path, wanted: Observations) -> xr.Dataset:
        with xr.open_dataset(path) as ds:
            return from_track(ds.load(), wanted.gas, uncertainty=wanted.uncertainty)

    def _window(self, ds: xr.Dataset, dim: str) -> xr.Dataset:
        time = ds["time"].values
        return ds.isel({dim: np.flatnonzero((time >= self.settings.start) & (time < self.settings.end))})

    def sectors(self, grid: xr.Dataset, reach: np.timedelta64) -> dict[str, Sector]:
        """Return the fluxes on the grid of the footprints, from `reach` before the start on."""
        start = self.settings.start - reach
        return {s.name: self._sector(s, grid, start) for s in self.settings.sectors}

    def _sector(self, wanted: SectorSettings, grid: xr.Dataset, start: np.datetime64) -> Sector:
        share, errors = None, None
        if wanted.ledger is not None:
            gridded, known = self._gridded(wanted, wanted.ledger, grid)
            flux, share = gridded["flux"], gridded["share"]
            errors = known if wanted.sigma == "ledger" else None
        else:
            flux = self._flux(wanted, grid, start)
        return Sector(
            name=wanted.name,
            gas=wanted.gas,
            flux=flux,
            month=wanted.profiles.get("month"),
            weekday=wanted.profiles.get("weekday"),
            hour=wanted.profiles.get("hour"),
            clock=wanted.clock,
            prior=wanted.prior,
            sigma=1.0 if isinstance(wanted.sigma, str) else wanted.sigma,
            regional_sigma=errors,
            share=share,
            fixed=wanted.fixed,
        )

    def _flux(self, wanted: SectorSettings, grid: xr.Dataset, start: np.datetime64) -> xr.DataArray:
        if wanted.flux is None:
            shape = (grid.sizes["latitude"], grid.sizes["longitude"])
            coords = {name: grid[name].values for name in ("latitude", "longitude")}
            return xr.DataArray(
                np.full(shape, wanted.uniform),
                dims=("latitude", "longitude"),
                coords=coords,
                attrs={"units": FLUX_UNITS},
            )
        found = self.paths(wanted.flux)
        if wanted.factors is not None:
            factors = self.paths(wanted.factors)[0]
            years = [int(path.stem.split("_")[1][:4]) for path in found]
            fires = [priors.read_gfed(p, factors, wanted.gas, grid, year=y) for p, y in zip(found, years, strict=True)]
            return xr.concat(fires, "time", coords="minimal", compat="override", join="exact", combine_attrs="override")
        return priors.read_flux(
            found, wanted.gas, grid, variable=wanted.variable, units=wanted.units, start=start, end=self.settings.end
        )

    def _gridded(
        self, sector: SectorSettings, wanted: LedgerSettings, grid: xr.Dataset
    ) -> tuple[xr.Dataset, dict[str, float]]:
        """Return the flux that a ledger's provinces make on the grid, kept by their shares, and their relative σ."""
        (path,) = self.paths(wanted.file)
        mapping = None if wanted.mapping is None else self.paths(wanted.mapping)[0]
        book = inventory.read(path, mapping=mapping, encoding=wanted.encoding)
        there = inside(grid)
        codes = [str(code) for code in there["country"].values]
        about = {"category": wanted.category, "period": wanted.period, "vintage": wanted.vintage}
        ledger = book.ledger(codes, gas=sector.gas, **about)
        relative = dict(zip(codes, np.abs(ledger.sigma / ledger.rate).tolist(), strict=True))
        emits = np.nan_to_num(ledger.rate) != 0
        unsure = [code for code, there_is in zip(codes, emits, strict=True) if there_is and not relative[code] > 0]
        if sector.sigma == "ledger" and unsure:
            msg = f"{path.name} states no σ for {', '.join(unsure)}; give the sector {sector.name!r} a number"
            raise DeployError(msg)
        proxy = None
        if wanted.proxy is not None:
            (file,) = self.paths(wanted.proxy)
            proxy = self._on_grid(file, str(wanted.proxy_variable), grid).values
        gridded = gridding.allocate(ledger.rate, there, sector.gas, proxy=proxy)
        return gridded, {code: sigma for code, sigma in relative.items() if sigma > 0}

    def basis(self, name: str, streams: list[Stream], sectors: list[Sector]) -> Basis:
        """Return a basis on the grid of the footprints."""
        wanted: BasisSettings = self.settings.bases[name]
        grid = streams[0].footprints[["latitude", "longitude"]]
        if wanted.kind == "cells":
            return basis.cells(grid)
        if wanted.kind == "provinces":
            own = sectors[0].share if len(sectors) == 1 else None
            return basis.fractions(provinces(grid) if own is None else own, name="provinces", origin=own is not None)
        if wanted.kind == "quadtree":
            return basis.quadtree(information(streams, sectors), wanted.regions)
        if wanted.kind == "mask":
            (file,) = self.paths(str(wanted.file))
            return basis.mask(self._on_grid(file, str(wanted.variable), grid), name=name)
        shape = (grid.sizes["latitude"], grid.sizes["longitude"])
        return basis.mask(xr.DataArray(np.full(shape, "domain"), coords=grid.coords, dims=("latitude", "longitude")))

    def _on_grid(self, path: Path, variable: str, grid: xr.Dataset) -> xr.DataArray:
        axes = (grid["latitude"].values, grid["longitude"].values)
        return field.read(path, variable, *axes, whose="the footprints").assign_coords(grid.coords)

    def backgrounds(self, streams: list[Stream]) -> dict[str, Background | None]:
        """Return the background of each gas."""
        return {gas: self._background(gas, b, streams) for gas, b in self.settings.backgrounds.items()}

    def _background(self, gas: str, wanted: BackgroundSettings, streams: list[Stream]) -> Background | None:
        knots: dict[str, Any] = {"every_days": wanted.every_days, "length_days": wanted.length_days}
        if wanted.kind == "none":
            return None
        if wanted.kind == "baseline":
            assert wanted.value is not None
            return Baseline(wanted.value, wanted.sigma, per=wanted.per, **knots)
        value: Any = wanted.value
        if wanted.files is not None:
            value = priors.read_field(self.paths(wanted.files), gas, units=wanted.units, box=_box(streams))
        if wanted.kind == "field":
            return Endpoints(value, wanted.sigma, per=wanted.per, **knots)
        knots |= {"layers": wanted.layers} if wanted.layers else {}
        return Curtain(value, wanted.sigma, correlation=wanted.correlation, **knots)


def _errors(stream: Stream) -> tuple[PerSite, PerSite]:
    return stream.error.representation, stream.error.transport


def inside(grid: xr.Dataset) -> xr.Dataset:
    """Return the provinces that reach into a grid, as `regions.fractions` does."""
    found = regions.fractions(grid["latitude"].values, grid["longitude"].values)
    there = found["country_fraction"].any(["latitude", "longitude"]).values
    if not there.any():
        msg = "no province lies in the grid of the footprints; take another basis or other totals"
        raise DeployError(msg)
    return found.isel(country=there)


def provinces(grid: xr.Dataset) -> xr.DataArray:
    """Return the shares of cells in the provinces that reach into a grid."""
    return inside(grid)["country_fraction"]


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of all files below a folder (Zarr) with their names."""
    if not path.is_dir():
        return _content(path)
    total = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        if file.is_file():
            total.update(f"{file.relative_to(path)} {_content(file)}\n".encode())
    return total.hexdigest()


def _content(path: Path) -> str:
    state = path.stat()
    return _hashed(path, state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=4096)
def _hashed(path: Path, changed: int, size: int) -> str:
    """Members of an ensemble name the same files: each is read once, unless it changes."""
    del changed, size
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _series(path: Path, wanted: Observations) -> xr.Dataset:
    """Return one series: OBS as we write it, or any archive's file; averaged, and given an uncertainty, where asked."""
    ds = _opened(path, wanted)
    if wanted.average == "hour":
        ds = averaging.hourly(ds)
    name = f"{wanted.gas}_uncertainty"
    if wanted.uncertainty is not None and name in ds.variables:
        ds = ds.assign({name: ds[name].fillna(wanted.uncertainty).assign_attrs(ds[name].attrs)})
    return ds


def _opened(path: Path, wanted: Observations) -> xr.Dataset:
    if path.suffix == ".nc":
        with xr.open_dataset(path) as ds:
            if OBS.species(ds) and "station" in ds.attrs:
                return ds.load()
    known: dict[str, Any] = dict(wanted.place)
    return archives.read(path, scale=wanted.scale, **known)


def _joined(parts: list[xr.Dataset]) -> xr.Dataset:
    if len(parts) == 1:
        return parts[0]
    return xr.concat(
        parts, "obs", data_vars="all", coords="different", compat="equals", join="exact", combine_attrs="override"
    )


def _box(streams: list[Stream]) -> tuple[float, float, float, float]:
    """Return west, south, east, north of all endpoints and of the grid."""
    lon, lat = [], []
    for ds in (stream.footprints for stream in streams):
        lon += [float(ds["longitude"].min()) - 1.0, float(ds["longitude"].max()) + 1.0]
        lat += [float(ds["latitude"].min()) - 1.0, float(ds["latitude"].max()) + 1.0]
        if "end_longitude" in ds.variables:
            lon += [float(ds["end_longitude"].min()), float(ds["end_longitude"].max())]
            lat += [float(ds["end_latitude"].min()), float(ds["end_latitude"].max())]
    return min(lon), min(lat), max(lon), max(lat)
