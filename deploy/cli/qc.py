"""`skyledger qc`: quality control of what is new in the store."""

import signal
import threading
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy import logs
from deploy.errors import DeployError
from deploy.options import Dsn, Who

if TYPE_CHECKING:
    from deploy.jobs.qc import SeriesResult

app = typer.Typer(help="Quality control: raw readings to flagged means.", no_args_is_help=True)


def attach(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="qc")


@app.callback()
def group() -> None:
    """Quality control: raw readings to flagged means."""


@app.command()
def run(
    dsn: Dsn,
    *,
    config: Annotated[Path | None, typer.Option(help="TOML with [[series]]; skyledger's own where left out.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on, looking for what is new again and again.")] = False,
    every: Annotated[float, typer.Option(min=1.0, help="Seconds between two looks.")] = 60.0,
    start: Annotated[str | None, typer.Option("--from", help="Evaluate again from this time on, new or not.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Until before this time.")] = None,
    station: Annotated[str | None, typer.Option(help="With --from: only this station.")] = None,
    scheduler: Annotated[
        str, typer.Option(help="Instruments side by side: threads, processes, or a Dask scheduler's address.")
    ] = "synchronous",
) -> None:
    """Evaluate what is new (or a stretch of time again) and write the minute and hour means that differ."""
    import numpy as np  # noqa: PLC0415  needs the extras server and science

    from deploy.jobs import qc  # noqa: PLC0415
    from ingest import read  # noqa: PLC0415

    logs.start(steady=watch, secrets=logs.secrets_of(dsn))
    series = qc.network_configuration(config)
    if (start is None) != (end is None):
        given, other = ("--from", "--to") if end is None else ("--to", "--from")
        msg = f"{given} goes with {other}: give both, or neither for what is new"
        raise DeployError(msg)
    if start is not None and end is not None:
        first, last = (np.datetime64(read.instant(t).astimezone(UTC).replace(tzinfo=None), "ns") for t in (start, end))
        results = qc.rerun(dsn, series, start=first, end=last, station=station, scheduler=scheduler)
        _say(results, otherwise="Evaluated again: not one value differs.")
        return
    if not watch:
        _say(qc.run_once(dsn, series, scheduler=scheduler), otherwise="Nothing new since the last run.")
        return
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    for results in qc.watch(dsn, series, every=every, stop=stop, scheduler=scheduler):
        _say(results)


@app.command()
def flag(  # noqa: PLR0913  a command's options
    station: Annotated[str, typer.Argument(help="Station in the catalogue.")],
    dsn: Dsn,
    *,
    start: Annotated[str, typer.Option("--from", help="Values from this time on (ISO 8601, UTC).")],
    end: Annotated[str, typer.Option("--to", help="Until before this time.")],
    why: Annotated[str, typer.Option(help="The reason; it is kept.")],
    who: Who,
    as_: Annotated[str, typer.Option("--as", help="bad, suspect, or good (whatever the tests said).")] = "bad",
    instrument: Annotated[str | None, typer.Option(help="Only of this instrument.")] = None,
    inlet: Annotated[str | None, typer.Option(help="Only of this inlet.")] = None,
    gas: Annotated[str | None, typer.Option(help="Only this gas.")] = None,
    port: Annotated[str | None, typer.Option(help="Only at this position of the valve.")] = None,
    supersedes: Annotated[int | None, typer.Option(help="Number of the row whose place it takes.")] = None,
) -> None:
    """Flag values by hand: a row of the ledger, which is never changed; `qc run` evaluates what it touches again."""
    from ingest import ledger, read  # noqa: PLC0415  needs the extra server

    decision = ledger.Decision(
        station=station,
        start=read.instant(start),
        end=read.instant(end),
        flag=as_,
        author=who,
        reason=why,
        instrument=instrument,
        inlet=inlet,
        gas=gas,
        port=port,
    )
    number = ledger.add(dsn, decision, supersedes=supersedes)
    typer.echo(f"row {number}: {as_} from {start} to {end}; `skyledger qc run` evaluates it again")


@app.command()
def explain(
    station: Annotated[str, typer.Argument(help="Station in the catalogue.")],
    when: Annotated[str, typer.Argument(help="A time in the minute asked about (ISO 8601, UTC).")],
    dsn: Dsn,
    *,
    inlet: Annotated[str | None, typer.Option(help="Only this inlet.")] = None,
    gas: Annotated[str | None, typer.Option(help="Only this gas.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML with [[series]]; skyledger's own where left out.")] = None,
) -> None:
    """Say all that happened to the values of a minute, from the message they came in to the hour they are part of."""
    from deploy.jobs import explain as job  # noqa: PLC0415  needs the extras server and science
    from deploy.jobs import qc  # noqa: PLC0415
    from ingest import read  # noqa: PLC0415

    series = qc.network_configuration(config)
    for line in job.explain(dsn, series, station=station, moment=read.instant(when), inlet=inlet, gas=gas):
        typer.echo(line)


@app.command()
def report(
    station: Annotated[str, typer.Argument(help="Station in the catalogue.")],
    dsn: Dsn,
    *,
    month: Annotated[str | None, typer.Option(help="As 2026-03; that of the last reading where left out.")] = None,
    output: Annotated[Path, typer.Option(help="Folder the page goes to.")] = Path("qc-report"),
    config: Annotated[Path | None, typer.Option(help="TOML with [[series]]; skyledger's own where left out.")] = None,
) -> None:
    """Write a page about a station and month: series, flags, calibrations, targets, coverage, uncertainty."""
    from deploy.jobs import network  # noqa: PLC0415  needs the extras server and science
    from deploy.jobs import report as job  # noqa: PLC0415

    series = network.network_configuration(config)
    typer.echo(str(job.write(dsn, series, station=station, folder=output, month=month)))


@app.command()
def withdraw(
    number: Annotated[int, typer.Argument(help="Of the row, as `qc ledger` shows it.")],
    dsn: Dsn,
    *,
    why: Annotated[str, typer.Option(help="The reason; it is kept.")],
    who: Who,
) -> None:
    """Take a flag by hand back: another row, which supersedes it and says nothing."""
    from ingest import ledger  # noqa: PLC0415  needs the extra server

    made = ledger.withdraw(dsn, number, author=who, reason=why)
    typer.echo(f"row {made} withdraws row {number}; `skyledger qc run` evaluates it again")


@app.command()
def reassign(
    station: Annotated[str, typer.Argument(help="Station in the catalogue.")],
    dsn: Dsn,
    *,
    start: Annotated[str, typer.Option("--from", help="From this time on (ISO 8601, UTC).")],
    end: Annotated[str, typer.Option("--to", help="Until before this time.")],
    said: Annotated[str, typer.Option(help="Cylinder, or position of the valve, as it was called.")],
    was: Annotated[str, typer.Option(help="The cylinder it was.")],
    why: Annotated[str, typer.Option(help="The reason; it is kept.")],
    who: Who,
) -> None:
    """Write down that another cylinder hung there than was said; `qc run` evaluates what that touches again."""
    from ingest import read, standards  # noqa: PLC0415  needs the extra server

    number = standards.correct(
        dsn, station, start=read.instant(start), end=read.instant(end), said=said, was=was, author=who, reason=why
    )
    typer.echo(f"correction {number}: {said} was {was} from {start} to {end}; `skyledger qc run` evaluates it again")


@app.command("ledger")
def show_ledger(
    dsn: Dsn,
    station: Annotated[str | None, typer.Argument(help="Only of this station.", show_default=False)] = None,
    *,
    superseded: Annotated[bool, typer.Option("--all", help="Also what is no longer in force.")] = False,
) -> None:
    """Show the flags by hand, and of one station the corrections of cylinders."""
    from ingest import database, ledger, standards  # noqa: PLC0415  needs the extra server

    for row in ledger.rows(dsn, station):
        if not (row.in_force or superseded):
            continue
        named = (("instrument", row.instrument), ("inlet", row.inlet), ("gas", row.gas), ("port", row.port))
        only = "".join(f", {name} {value}" for name, value in named if value is not None)
        state = "" if row.in_force else " (no longer in force)"
        window = f"{row.start:%Y-%m-%d %H:%M} to {row.end:%Y-%m-%d %H:%M}"
        typer.echo(
            f"{row.number}: {row.flag.name.lower()} {row.station}{only}, {window}: {row.reason} ({row.author}){state}"
        )
    if station is None:
        return
    with database.connect(dsn) as conn:
        for one in standards.corrections(conn, station):
            window = f"{one.start:%Y-%m-%d %H:%M} to {one.end:%Y-%m-%d %H:%M}"
            typer.echo(f"correction {one.number}: {one.said} was {one.was}, {window}: {one.reason} ({one.author})")


@app.command()
def import_ledger(
    file: Annotated[Path, typer.Argument(help="CSV as the UATAQ network keeps it.")],
    dsn: Dsn,
    *,
    station: Annotated[str, typer.Option(help="Whose it is.")],
) -> None:
    """Take over a ledger of another network, all of it or nothing."""
    from ingest import ledger  # noqa: PLC0415  needs the extra server

    done = ledger.take_over_uataq(dsn, file, station=station)
    typer.echo(f"{done.flags} flags and {done.corrections} corrections of cylinders taken over")
    for sentence in done.left_out:
        typer.echo(f"left out: {sentence}")


def _say(results: "list[SeriesResult]", *, otherwise: str = "") -> None:
    for result in results:
        failed = result.hours is None
        event = "not_evaluated" if failed else "evaluated"
        logs.say(str(result), event=event, warning=failed, station=result.station, inlet=result.inlet)
    if otherwise and not results:
        logs.say(otherwise, event="nothing_new")
