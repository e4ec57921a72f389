"""Footprints of many receptors, side by side, in pieces that are kept: a run that was killed goes on where it was.

The receptors are cut into pieces. A piece is computed by itself, from the configuration alone, and written under a
name of its own in one rename; at the end the pieces are put together in order. So neither the number of workers nor
where a run was killed shows in the result.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import dask
import netCDF4
import numpy as np
import xarray as xr
from xarray.backends import NetCDF4DataStore

from deploy.errors import DeployError
from inversion import transport
from inversion.transport import columns
from inversion.transport.columns import read_columns
from inversion.transport.receptors import read_receptors, stations
from qc.document import REQUIRED, Table, load

FORMATS: Final = ("netcdf", "zarr")
_PIECES: Final = "pieces"
_PATHS: Final = ("meteorology", "receptors", "columns", "output")
_FILES: Final = (("receptors", None), ("columns", None), ("meteorology",))
_PARTICLES_ONLY: Final = ("hourly", "endpoints", "near_field", "smoothing")


@dataclass(frozen=True, slots=True)
class Run:
    """What to compute: the configuration, checked."""

    model: str
    hours: float
    meteorology: str
    receptors: str | None
    columns: str | None
    gas: str
    top: float
    inlets: tuple[dict[str, Any], ...]
    start: str | None
    end: str | None
    every: float
    longitude: tuple[float, float, float]
    latitude: tuple[float, float, float]
    output: str
    format: str
    piece: int
    particles: int = 1000
    seed: int = 0
    hourly: bool = False
    endpoints: bool = False
    near_field: bool = False
    smoothing: float = 0.0

    @property
    def files(self) -> list[str]:
        """The meteorology's files, in the order of their names."""
        pattern = Path(self.meteorology)
        return sorted(str(path) for path in pattern.parent.glob(pattern.name))

    @property
    def digest(self) -> str:
        """What the result depends on, hashed: configuration, and the files it names by their content."""
        settings = {k: v for k, v in asdict(self).items() if k not in _PATHS}
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        for path in (*self.files, self.receptors, self.columns):
            if path is not None:
                with Path(path).open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()


def read_run(path: str | Path) -> Run:
    """Return a configuration; paths in it are relative to its folder.

    Raises
    ------
    DeployError
        With every fault at once; for an unknown key with the nearest known one.
    """
    path = Path(path)
    faults: list[str] = []
    top = Table(load(path), path.name, faults)
    receptors, columns, meteorology = (top.text(key, *more) for key, *more in _FILES)
    every = top.number("every", 1.0, low=1.0 / 60.0)
    start, end = top.moment("start"), top.moment("end")
    grid = top.table("grid")
    output = top.text("output")
    run = Run(
        model=top.text("model", "plume", among=MODELS),
        hours=top.number("hours", 48.0, low=0.1),
        meteorology=str(path.parent / (meteorology or "")),
        receptors=None if receptors is None else str(path.parent / receptors),
        columns=None if columns is None else str(path.parent / columns),
        gas=top.text("gas", "ch4"),
        top=top.number("top", 8000.0, low=10.0),
        inlets=tuple(_inlet(table) for table in top.tables("inlet")),
        start=None if start is None else str(start),
        end=None if end is None else str(end),
        every=every,
        longitude=_axis(grid, "longitude"),
        latitude=_axis(grid, "latitude"),
        output=str(path.parent / (output or "")),
        format=top.text("format", "netcdf", among=FORMATS),
        piece=top.count("piece", 64),
        particles=top.count("particles", 1000),
        seed=top.count("seed", 0, low=0),
        hourly=top.flag("hourly", False),
        endpoints=top.flag("endpoints", False),
        near_field=top.flag("near_field", False),
        smoothing=top.number("smoothing", 0.0, low=0.0),
    )
    grid.close()
    top.close()
    faults += [f"{path.name}{fault}" for fault in _faults(run)]
    if faults:
        msg = "; ".join(faults)
        raise DeployError(msg)
    return run


def _faults(run: Run) -> Iterator[str]:
    """Yield what does not go together in a configuration."""
    if [run.receptors is not None, run.columns is not None, bool(run.inlets)].count(True) != 1:
        yield ": give one of receptors, a file; columns, a file; or [[inlet]] tables with start and end"
    if run.inlets and (run.start is None or run.end is None or not run.start < run.end):
        yield ": [[inlet]] goes with start and end, start before end"
    if not run.files:
        yield f".meteorology: there is no file {run.meteorology}"
    for key, file in (("receptors", run.receptors), ("columns", run.columns)):
        if file is not None and not Path(file).is_file():
            yield f".{key}: there is no file {file}"
    if run.model == "plume":
        if len(run.files) > 1:
            yield f".meteorology: {len(run.files)} files; the plume takes one"
        wrong = [key for key in _PARTICLES_ONLY if getattr(run, key)]
        if wrong:
            yield f'.{wrong[0]}: the plume knows none; it goes with model = "particles"'


def _inlet(table: Table) -> dict[str, Any]:
    inlet = {
        "site": table.text("site"),
        "longitude": table.number("longitude", REQUIRED, low=-180.0, high=360.0),
        "latitude": table.number("latitude", REQUIRED, low=-90.0, high=90.0),
        "height": table.number("height", REQUIRED, low=0.1),
    }
    table.close()
    return inlet


def _axis(grid: Table, name: str) -> tuple[float, float, float]:
    table = grid.table(name)
    first, last = table.number("first"), table.number("last")
    step = table.number("step", REQUIRED, low=1e-4)
    table.close()
    return (first or 0.0, last or 0.0, step or 1.0)


def compute(
    run: Run, *, scheduler: str = "processes", workers: int = 1, told: Callable[[int, int], None] = lambda *_: None
) -> Path:
    """Compute what is not yet there, put it together, and return where it is.

    Parameters
    ----------
    run : Run
    scheduler : str
        "processes" on this machine, or the address of a Dask scheduler whose workers see the same files.
    workers : int
        Processes on this machine.
    told : callable (done, all) -> None
        Hears how many receptors are done: those of an earlier run at once.

    Raises
    ------
    DeployError
        Where pieces of another configuration lie in the way.
    """
    total = _places(run).sizes["receptor"]
    folder = _folder(run)
    parts = [(folder / f"{first:09d}.nc", first) for first in range(0, total, run.piece)]
    sizes = {first: min(run.piece, total - first) for _, first in parts}
    missing = [(path, first) for path, first in parts if not path.exists()]
    done = total - sum(sizes[first] for _, first in missing)
    told(done, total)
    for first in _run_all(run, missing, scheduler, workers):
        done += sizes[first]
        told(done, total)
    target = _assemble(run, [path for path, _ in parts])
    shutil.rmtree(folder.parent)
    return target


def _places(run: Run) -> xr.Dataset:
    """Return what there is a footprint for: receptors, or columns as such."""
    if run.columns is not None:
        return read_columns(run.columns, run.gas).rename(obs="receptor")
    if run.receptors is not None:
        return read_receptors(run.receptors)
    step = np.timedelta64(round(run.every * 3600), "s")
    return stations(run.inlets, np.arange(np.datetime64(run.start, "ns"), np.datetime64(run.end, "ns"), step))


def _folder(run: Run) -> Path:
    """Return the folder of the pieces, made where it is not there yet."""
    home = Path(f"{run.output}.{_PIECES}")
    others = [path for path in home.iterdir() if path.name != run.digest] if home.exists() else []
    for path in [path for path in others if path.is_dir() and not any(path.iterdir())]:
        path.rmdir()  # of a run that was refused before it had anything
        others.remove(path)
    if others:
        msg = f"{home} holds pieces of another configuration or other input; finish that run or remove the folder"
        raise DeployError(msg)
    (home / run.digest).mkdir(parents=True, exist_ok=True)
    return home / run.digest


def _run_all(run: Run, missing: list[tuple[Path, int]], scheduler: str, workers: int) -> Iterator[int]:
    if not missing:
        return
    if scheduler == "processes":
        # Spawned, not forked: numba's and netCDF's threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context, initializer=one_thread) as pool:
            futures = [pool.submit(piece, run, str(path), first) for path, first in missing]
            for future in as_completed(futures):
                yield future.result()
        return
    from dask import distributed  # noqa: PLC0415  slow to import, and not needed on one machine

    try:
        client = distributed.Client(scheduler)
    except (OSError, ValueError, TypeError) as error:  # TypeError: TLS without certificates
        msg = f"--scheduler {scheduler}: nobody answers there ({error}); expected 'processes' or tcp://host:8786"
        raise DeployError(msg) from error
    with client:
        tasks = [client.submit(piece, run, str(path), first, pure=False) for path, first in missing]
        for task in distributed.as_completed(tasks):
            yield task.result()


def one_thread() -> None:
    """Leave a worker one numba thread: there is a worker for each core."""
    import numba  # noqa: PLC0415  slow to import, and needed by workers only

    numba.set_num_threads(1)


def piece(run: Run, path: str, first: int) -> int:
    """Compute the receptors from `first` on, write them in one rename, and return `first`."""
    one_thread()
    places = _places(run).isel(receptor=slice(first, first + run.piece))
    grid = xr.Dataset(coords={name: _centres(getattr(run, name)) for name in ("longitude", "latitude")})
    if run.columns is None:
        ds = MODELS[run.model](run, places, grid)
    else:
        seen = places.rename(receptor="obs")
        stack = columns.receptors(seen, top=run.top)
        ds = columns.footprints(seen, stack, MODELS[run.model](run, stack, grid))
    unfinished = f"{path}.{os.getpid()}"
    ds.to_netcdf(unfinished)
    Path(unfinished).replace(path)
    return first


def _plume(run: Run, receptors: xr.Dataset, grid: xr.Dataset) -> xr.Dataset:
    with xr.open_dataset(run.files[0]) as meteorology:
        return transport.footprints(receptors, meteorology, grid, hours=run.hours)


def _particles(run: Run, receptors: xr.Dataset, grid: xr.Dataset) -> xr.Dataset:
    """Follow particles through as much of the meteorology as these receptors need."""
    from inversion.transport import era5, particles  # noqa: PLC0415  compiles when it is imported

    times = receptors["time"].values.astype("datetime64[ns]")
    first = times.min() - np.timedelta64(round(run.hours * 3600), "s")
    region = (*_edges(grid["longitude"].values), *_edges(grid["latitude"].values))
    met = era5.opened(run.files, first, times.max(), region=region)
    return particles.footprints(
        receptors,
        met,
        grid,
        particles=run.particles,
        hours_back=round(run.hours),
        seed=run.seed,
        hourly=run.hourly,
        endpoints=run.endpoints,
        near_field=run.near_field,
        smoothing=run.smoothing,
    )


def _edges(centres: np.ndarray) -> tuple[float, float]:
    half = 0.5 * float(centres[1] - centres[0]) if centres.size > 1 else 0.0
    return float(centres[0]) - half, float(centres[-1]) + half


MODELS: Final[dict[str, Callable[[Run, xr.Dataset, xr.Dataset], xr.Dataset]]] = {
    "particles": _particles,
    "plume": _plume,
}
"""Name of a model -> (run, receptors, grid) -> FOOTPRINT."""


def _centres(axis: tuple[float, float, float]) -> np.ndarray:
    first, last, step = axis
    return first + step * np.arange(round((last - first) / step) + 1)


def _assemble(run: Run, parts: list[Path]) -> Path:
    """Write the pieces as one, a piece at a time, in single precision and compressed, and return where."""
    target = Path(run.output)
    unfinished = target.with_name(f"{target.name}.unfinished")
    with ExitStack() as files, dask.config.set(scheduler="synchronous"):
        pieces = [files.enter_context(xr.open_dataset(path, chunks={})) for path in parts]
        ds = xr.concat(pieces, "receptor", data_vars="minimal", coords="minimal", compat="equals", join="exact")
        ds = ds.assign_attrs(configuration_sha256=run.digest).drop_encoding()
        large = [str(name) for name in ds.data_vars if ds[name].ndim > 2 and ds[name].dtype.kind == "f"]
        if run.format == "zarr":
            for path in (unfinished, target):
                shutil.rmtree(path, ignore_errors=True)
            ds.assign({name: ds[name].astype(np.float32) for name in large}).to_zarr(unfinished, "w", zarr_format=2)
        else:
            unfinished.unlink(missing_ok=True)
            store = NetCDF4DataStore.open(str(unfinished), mode="w")
            ds.drop_vars(large).load().dump_to_store(store)
            _append(store.ds, pieces, large)
            store.close()
    unfinished.replace(target)
    return target


def _append(file: netCDF4.Dataset, pieces: list[xr.Dataset], names: list[str]) -> None:
    """Add variables to a file in the order of the pieces, so that its bytes tell nothing of how they were computed."""
    for name in names:
        dims = tuple(str(dim) for dim in pieces[0][name].dims)
        for dim in (one for one in dims if one not in file.dimensions):
            file.createDimension(dim, pieces[0].sizes[dim])
        # A receptor is a chunk of its own, and is read by itself.
        chunks = (1, *pieces[0][name].shape[1:])
        variable = file.createVariable(
            name, "f4", dims, zlib=True, complevel=4, shuffle=True, chunksizes=chunks, fill_value=float("nan")
        )
        variable.setncatts(pieces[0][name].attrs)
        first = 0
        for piece in pieces:
            last = first + piece.sizes["receptor"]
            variable[first:last] = piece[name].values
            first = last
