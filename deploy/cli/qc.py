"""`skyledger qc`: quality control of what is new in the store."""

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
    dsn: Annotated[str, typer.Option(help="The database (libpq connection string).", envvar="SKYLEDGER_DSN")],
    *,
    config: Annotated[Path | None, typer.Option(help="TOML with [[series]]; skyledger's own where left out.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on, looking for new readings again and again.")] = False,
    every: Annotated[float, typer.Option(min=1.0, help="Seconds between two looks.")] = 60.0,
) -> None:
    """Evaluate every hour that new readings touch and write minute and hour means."""
    from deploy.jobs import qc  # noqa: PLC0415  needs the extras server and science

    series = qc.network_configuration(config)
    if not watch:
        results = qc.run_once(dsn, series)
        _say(results)
        if not results:
            typer.echo("Nothing new since the last run.")
        return
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    for results in qc.watch(dsn, series, every=every, stop=stop):
        _say(results)


def _say(results: "list[SeriesResult]") -> None:
    for result in results:
        typer.echo(str(result))
