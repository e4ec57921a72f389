"""The demonstration from start to end: instrument files, agents, broker, database, QC, inversion, report."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from deploy.demo import desk, fleet, inverse, workers, world
from deploy.demo.instrument import Air, Instrument
from deploy.demo.link import BadLink
from deploy.demo.network import INSTRUMENT, SITES, Site, Trouble, catalogue
from deploy.errors import DeployError
from deploy.jobs import qc
from deploy.local import stack as stacks
from deploy.local.stack import Stack
from deploy.services import INGEST, MIGRATE
from ingest import aside, status
from ingest import catalogue as catalogues
from inversion import report

START: Final = np.datetime64("2025-07-01")
SEED: Final = 20250701
SERVICES: Final = (MIGRATE, INGEST)
"""What the demonstration needs beside its servers; quality control is called when all readings are there."""
STACK: Final = "stack"
"""Folder of its database and broker, below the demonstration's."""
_POLL: Final = 0.25
_PATIENCE: Final = 120.0
"""Seconds without a new reading after which something must be wrong."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a demonstration did; `seconds` by step, in order."""

    world: world.World
    rows_written: int
    cuts: int
    counts: status.Counts
    aside: list[str]
    series: list[qc.SeriesResult]
    result: inverse.Result
    written: report.Written
    seconds: dict[str, float]


class Steps:
    """Announces steps, shows a bar for each on a terminal, and keeps how long each took."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str, total: float | None = None) -> Iterator[Bar]:
        """Work on a step; the bar takes advances."""
        started = time.monotonic()
        columns = (TextColumn("  {task.description:<32}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(
            *columns, console=self._console, transient=True, disable=not self._console.is_terminal
        ) as progress:
            yield Bar(progress, name, total)
        self.seconds[name] = time.monotonic() - started
        self._console.print(f"  {name:<46} {self.seconds[name]:6.1f} s", highlight=False)


class Bar:
    """A step's progress bar."""

    def __init__(self, progress: Progress, name: str, total: float | None) -> None:
        self._progress = progress
        self._task = progress.add_task(name, total=total)

    def advance(self, amount: float = 1) -> None:
        """Move it on."""
        self._progress.advance(self._task, amount)

    def of(self, amount: float, total: float) -> None:
        """Move it on, towards a total that was not known before."""
        self._progress.update(self._task, advance=amount, total=total)

    def at(self, amount: float) -> None:
        """Move it to a place."""
        self._progress.update(self._task, completed=amount)


def run(directory: Path, *, days: int, row_seconds: float, console: Console) -> Outcome:
    """Run the demonstration in a folder, which is made anew.

    Parameters
    ----------
    directory
        Holds ``stations/``, ``stack/`` and ``report/`` afterwards.
    days
        Length of the record.
    row_seconds
        How often the simulated instruments write a row.
    console
        Where progress is shown.
    """
    rng = np.random.default_rng(SEED)
    steps = Steps(console)
    directory = directory.absolute()
    stacks.remove(directory / STACK)
    stations = directory / "stations"
    with steps.step("weather, footprints by particles, air", 1) as bar:
        truth = world.make(START, days, rng, bar.of)
    with steps.step("instruments write their files", 24 * days * len(SITES)) as bar:
        rows = _write_files(truth, stations, row_seconds, bar)
    with ExitStack() as resources:
        with steps.step("starting database, broker and ingest", 1) as bar:
            stack = resources.enter_context(Stack(directory / STACK, services=SERVICES))
            catalogues.apply(stack.dsn, catalogue())
            fleet.wait_for_ingest(stack.data_dir)
            bar.advance()
        with steps.step("agents → broker → database", 4 * rows) as bar:
            cuts = _deliver(stack, stations, bar)
        with steps.step("quality control", len(SITES)) as bar:
            desk.visit(stack, desk.moment(START))
            fleet.wait_until_settled(stack.dsn)
            series = qc.run_once(stack.dsn, desk.configuration(), on_instrument=lambda *_: bar.advance())
            desk.rolled(stack.dsn)
        with steps.step("inversion and cross-check", 1) as bar:
            result = inverse.run(stack.dsn, truth)
            bar.advance()
        counts = status.counts(stack.dsn)
        kept = [str(entry.reason) for entry in aside.entries(stack.dsn)]
        kept += [str(row) for row in aside.rows(stack.dsn)]
    with steps.step("report", 1) as bar:
        written = inverse.write_report(result, directory / "report")
        bar.advance()
    return Outcome(truth, rows, cuts, counts, kept, series, result, written, steps.seconds)


# --- instruments ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Task:
    """One instrument's work."""

    instrument: Instrument
    air: Air
    directory: Path
    seed: np.random.SeedSequence


def _write_files(truth: world.World, stations: Path, row_seconds: float, bar: Bar) -> int:
    """Write every instrument's files, one process a core; returns the number of rows."""
    seeds = np.random.SeedSequence(SEED).spawn(len(SITES))
    tasks = [
        _Task(
            Instrument(
                f"SIM-{number:03d}",
                tuple(site.ports()),
                site.trouble,
                row_seconds=row_seconds,
                operation=site.operation,
            ),
            truth.air[site.name],
            stations / site.name / "data",
            seed,
        )
        for number, (site, seed) in enumerate(zip(SITES, seeds, strict=True), start=1)
    ]
    rows = 0
    with workers.pool(len(tasks)) as pool:
        for written in pool.imap_unordered(_write_one, tasks):
            rows += written
            bar.advance(truth.place.hours)
    return rows


def _write_one(task: _Task) -> int:
    for old in task.directory.glob("*.dat"):
        old.unlink()
    return task.instrument.write(task.air, task.directory, np.random.default_rng(task.seed))


# --- delivery ---------------------------------------------------------------------------------


def _deliver(stack: Stack, stations: Path, bar: Bar) -> int:
    """Run all agents until everything is in the database; returns how often the bad link hung up."""
    with BadLink((stack.host, stack.port), random=Random(SEED)) as link:  # noqa: S311  no secret
        posts = [_post(site, stack, link, stations) for site in SITES]
        for post in posts:
            fleet.forget(post)
        with fleet.agents(posts) as running:
            _watch(stack, posts, running, bar)
        return link.cuts


def _post(site: Site, stack: Stack, link: BadLink, stations: Path) -> fleet.Post:
    port = link.port if site.trouble is Trouble.BAD_LINK else stack.port
    return fleet.Post(site.name, stations / site.name, stack.host, port, INSTRUMENT, "data/DataLog_User_*.dat")


def _watch(stack: Stack, posts: Sequence[fleet.Post], running: Sequence[fleet.Process], bar: Bar) -> None:
    """Follow the readings arriving until every agent has ended."""
    most, since = 0, time.monotonic()
    while any(one.poll() is None for one in running):
        fleet.check(posts, running)
        stored = status.counts(stack.dsn).readings
        bar.at(stored)
        if stored > most:
            most, since = stored, time.monotonic()
        elif time.monotonic() - since > _PATIENCE:
            waiting = ", ".join(p.station for p, one in zip(posts, running, strict=True) if one.poll() is None)
            logs = posts[0].directory.parent / "*" / "agent.log"
            msg = f"no reading has arrived for {_PATIENCE:.0f} s, agents still running: {waiting}; see {logs}"
            raise DeployError(msg)
        time.sleep(_POLL)
    fleet.check(posts, running)
    bar.at(status.counts(stack.dsn).readings)
