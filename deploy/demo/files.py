"""Real instrument files through the real path: each replayed by an agent, over the broker, into the database."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr

from deploy.demo import fleet
from deploy.demo.run import SERVICES, STACK, Steps
from deploy.errors import DeployError
from deploy.local import stack as stacks
from deploy.local.stack import Stack
from ingest import aside, catalogue, read
from qc.units import QUANTITIES
from station_agent.drivers import recognise, settled
from station_agent.errors import DriverError

STATION: Final = "files"


@dataclass(frozen=True, slots=True)
class Replayed:
    """One file in the database: (samples, mean) per quantity, rows per port; ``problem`` where it is not there."""

    file: str
    means: dict[str, tuple[int, float]]
    ports: dict[str, int]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the files, and what was kept aside with the reasons."""

    files: list[Replayed]
    aside: list[str]


def run(files: Path, directory: Path, *, steps: Steps) -> Outcome:
    """Replay every file in a folder.

    Parameters
    ----------
    files
        Folder of instrument files; what no driver recognises is named with the reason.
    directory
        For the stack, the spools and the logs.
    steps
        Shows progress.

    Raises
    ------
    DeployError
        The folder is none or empty, or an agent failed.
    """
    paths = sorted(path for path in files.iterdir() if path.is_file()) if files.is_dir() else []
    if not paths:
        msg = f"{files} is not a folder with files in it; give the folder of the instrument's log files"
        raise DeployError(msg)
    names = _instruments(paths)
    unknown: dict[Path, str] = {}
    drivers: dict[Path, tuple[str, Mapping[str, Any]]] = {}
    for path in paths:
        try:
            driver = recognise(path)
            drivers[path] = driver, settled(path, driver)
        except DriverError as error:
            unknown[path] = str(error).removeprefix(f"{path}: ")
    directory = directory.absolute()
    stacks.remove(directory / STACK)
    with Stack(directory / STACK, services=SERVICES) as stack:
        fleet.wait_for_ingest(stack.data_dir)
        catalogue.apply(stack.dsn, _catalogue(names[path] for path in paths if path not in unknown))
        with steps.step("agent → broker → database", len(paths)) as bar:
            for path in paths:
                if path not in unknown:
                    _replay(path, names[path], drivers[path], stack, directory / "stations")
                bar.advance()
        found = [
            Replayed(path.name, {}, {}, unknown[path]) if path in unknown else _look(stack.dsn, path, names[path])
            for path in paths
        ]
        kept = [str(entry) for entry in aside.entries(stack.dsn)] + [str(row) for row in aside.rows(stack.dsn)]
    return Outcome(found, kept)


def _instruments(paths: list[Path]) -> dict[Path, str]:
    """Return a name for each file that may stand in a topic."""
    stems = {path: re.sub(r"[^a-z0-9_-]+", "-", path.stem.lower()).strip("-_")[:48] or "file" for path in paths}
    times = Counter(stems.values())
    return {path: stem if times[stem] == 1 else f"{stem}-{n}" for n, (path, stem) in enumerate(stems.items())}


def _catalogue(instruments: Any) -> dict[str, Any]:
    place = {"latitude": 0.0, "longitude": 0.0, "altitude": 0.0}
    listed = [{"name": name} for name in instruments]
    return {"station": [{"name": STATION, "title": "Replayed files", "inlet": [], "instrument": listed, **place}]}


def _replay(path: Path, instrument: str, driver: tuple[str, Mapping[str, Any]], stack: Stack, folder: Path) -> None:
    files = str(path.resolve())
    post = fleet.Post(STATION, folder / instrument, stack.host, stack.port, instrument, files, *driver)
    fleet.forget(post)
    command = fleet.agent_command(post.write_configuration(), "replay", "--instrument", instrument, str(path.resolve()))
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own agent
    if done.returncode:
        msg = f"the agent could not replay {path}: {done.stderr.strip() or f'exit status {done.returncode}'}"
        raise DeployError(msg)


def _look(dsn: str, path: Path, instrument: str) -> Replayed:
    ds = read.readings(dsn, station=STATION, instrument=instrument)
    means = {name: _mean(ds[name]) for name in QUANTITIES if name in ds.data_vars}
    return Replayed(path.name, means, dict(Counter(ds["port"].values.tolist()).most_common()))


def _mean(values: xr.DataArray) -> tuple[int, float]:
    n = int(np.isfinite(values.values).sum())
    return n, float(np.nanmean(values.values)) if n else float("nan")
