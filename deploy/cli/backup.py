"""`skyledger db backup|wal|restore|export|import|size`: the database kept twice, and what that takes."""

import signal
import sys
import threading
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from deploy import logs
from deploy.cli.db import app
from deploy.options import Dsn

Bin = Annotated[
    Path | None,
    typer.Option(
        "--bin",
        envvar="SKYLEDGER_PG_BIN",
        help="Folder of PostgreSQL's programs, of the server's version.",
        show_default="looked for",
    ),
]
Backups = Annotated[Path, typer.Argument(help="Folder of the backups of one server.")]


def attach(_parent: typer.Typer) -> None:
    """Add nothing to the root: the commands are `skyledger db`'s."""


@app.command()
def backup(
    folder: Backups,
    dsn: Dsn,
    *,
    keep: Annotated[
        int | None,
        typer.Option(min=1, help="Base backups to keep; older ones go once a new one is verified.", show_default="all"),
    ] = None,
    max_rate: Annotated[
        int | None, typer.Option(min=1, help="Read at most so many MB a second.", show_default="all it can")
    ] = None,
    programs: Bin = None,
) -> None:
    """Copy the whole server while it works, and verify the copy."""
    from deploy.jobs.backup.base import Settings  # noqa: PLC0415  needs the extra server
    from deploy.jobs.backup.base import backup as run  # noqa: PLC0415
    from deploy.jobs.backup.folder import Folder  # noqa: PLC0415

    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))  # so that what is half made is removed
    for sentence in run(dsn, Folder(folder), Settings(keep, max_rate, programs)):
        typer.echo(sentence)


@app.command()
def wal(folder: Backups, dsn: Dsn, *, programs: Bin = None) -> None:
    """Stream what the server commits into the folder, until Ctrl-C or SIGTERM; a backup reaches as far as this does."""
    from deploy.jobs.backup.folder import Folder  # noqa: PLC0415  needs the extra server
    from deploy.jobs.backup.stream import stream  # noqa: PLC0415

    logs.start(steady=True, secrets=logs.secrets_of(dsn))
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stop.set())
    stream(dsn, Folder(folder), stop, tools=programs)


@app.command()
def restore(
    folder: Backups,
    to: Annotated[Path, typer.Option(help="The server's data directory to make: not there yet, or empty.")],
    *,
    until: Annotated[
        str | None,
        typer.Option(help="Nothing committed after this time (ISO 8601, UTC).", show_default="all there is"),
    ] = None,
    base: Annotated[
        str | None, typer.Option("--backup", help="Name of the base backup.", show_default="the newest that will do")
    ] = None,
    programs: Bin = None,
) -> None:
    """Make a server's data directory from its backups; as root or as the user the server runs as."""
    from deploy.jobs.backup.folder import Folder  # noqa: PLC0415  needs the extra server
    from deploy.jobs.backup.restore import Wish  # noqa: PLC0415
    from deploy.jobs.backup.restore import restore as run  # noqa: PLC0415
    from ingest.read import instant  # noqa: PLC0415

    time: datetime | None = None if until is None else instant(until)
    for sentence in run(Folder(folder), to, Wish(time, base, programs)):
        typer.echo(sentence)


@app.command()
def export(dsn: Dsn, folder: Annotated[Path, typer.Argument(help="A folder that is not there yet.")]) -> None:
    """Write the small tables (catalogue, ledgers, events, runs, inventories) as CSV that needs no skyledger."""
    from ingest.dump import export as run  # noqa: PLC0415  needs the extra server

    rows = run(dsn, folder)
    typer.echo(f"{folder}: {sum(rows.values())} rows of {len(rows)} tables")


@app.command("import")
def import_(dsn: Dsn, folder: Annotated[Path, typer.Argument(help="As `export` wrote it.")]) -> None:
    """Bring exported tables into a migrated database that holds nothing yet: all of them or nothing."""
    from ingest.dump import restore as run  # noqa: PLC0415  needs the extra server

    rows = run(dsn, folder)
    typer.echo(f"{sum(rows.values())} rows of {len(rows)} tables were brought in from {folder}")


@app.command()
def size(dsn: Dsn) -> None:
    """Measure what each kind of row takes on disk, indexes included."""
    from ingest.size import sizes  # noqa: PLC0415  needs the extra server

    for one in sizes(dsn):
        typer.echo(one)
