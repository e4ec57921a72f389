"""`skyledger db migrate|status|maintain|rebuild|adopt|roles|user`: the database of the store."""

from datetime import datetime
from typing import Annotated

import typer

from deploy import logs
from deploy.errors import DeployError
from deploy.options import Dsn

app = typer.Typer(help="Prepare, look at and repair the database.", no_args_is_help=True)


def attach(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="db")


@app.command()
def migrate(dsn: Dsn) -> None:
    """Bring the database's schema to this version."""
    from ingest.database import connect  # noqa: PLC0415  needs the extra server
    from ingest.errors import StoreError  # noqa: PLC0415
    from ingest.migrate import migrate as run  # noqa: PLC0415
    from ingest.roles import grant, granted  # noqa: PLC0415

    applied = run(dsn)
    for name in applied:
        typer.echo(f"applied {name}")
    if not applied:
        typer.echo("The database is up to date.")
    with connect(dsn) as conn:
        if not granted(conn):
            try:
                grant(conn)
            except StoreError as error:  # one user for all needs no roles
                typer.echo(str(error))


@app.command()
def status(dsn: Dsn) -> None:
    """Say what the database is and what is in it."""
    from ingest.status import status as look  # noqa: PLC0415  needs the extra server

    for name, value in look(dsn):
        typer.echo(f"{name:<22}{value}")


@app.command()
def rebuild(
    dsn: Dsn,
    start: Annotated[str, typer.Option("--from", help="From this time on (ISO 8601, UTC).")],
    end: Annotated[str, typer.Option("--to", help="Until before this time.")],
    *,
    station: Annotated[str | None, typer.Option(help="Only of this station.")] = None,
    instrument: Annotated[str | None, typer.Option(help="Only of this instrument.")] = None,
) -> None:
    """Make a window of the readings again from the messages as they came."""
    from ingest.read import instant  # noqa: PLC0415  needs the extra server
    from ingest.rebuild import rebuild as run  # noqa: PLC0415

    window: tuple[datetime, datetime] = (instant(start), instant(end))
    done = run(dsn, *window, station=station, instrument=instrument)
    typer.echo(
        f"{done.messages} messages read; {done.rows} readings in place of {done.before}, {done.aside} newly kept aside."
    )


@app.command()
def maintain(
    dsn: Dsn,
    *,
    keep_days: Annotated[
        int | None,
        typer.Option(min=1, help="Days of readings to keep; the messages they came in stay.", show_default="all"),
    ] = None,
    compress_after_days: Annotated[
        int, typer.Option(min=1, help="Age of days that are compressed, where TimescaleDB's licence allows it.")
    ] = 7,
) -> None:
    """Prepare the days to come, compress old readings and let the oldest go; once a day is enough."""
    from ingest.maintain import maintain as run  # noqa: PLC0415  needs the extra server

    logs.start(steady=False, secrets=logs.secrets_of(dsn))
    for sentence in run(dsn, keep_days=keep_days, compress_after_days=compress_after_days):
        logs.say(sentence, event="maintained")


@app.command()
def adopt(dsn: Dsn) -> None:
    """Make the change feed usable after the database was restored from another server's dump."""
    from ingest.database import connect  # noqa: PLC0415  needs the extra server
    from ingest.feed import adopt as run  # noqa: PLC0415

    with connect(dsn) as conn:
        changed = run(conn)
    typer.echo(f"{changed} messages were numbered anew; jobs will look once more at what not all of them had seen.")


@app.command()
def roles(dsn: Dsn) -> None:
    """Make the roles of the database, where `migrate` was not allowed to, and give them their rights again."""
    from ingest.database import connect  # noqa: PLC0415  needs the extra server
    from ingest.roles import Role, grant  # noqa: PLC0415

    with connect(dsn) as conn:
        grant(conn)
    typer.echo(f"roles: {', '.join(role.group for role in Role)}")


@app.command()
def user(
    name: Annotated[str, typer.Argument(help="a-z, 0-9 and _.")],
    dsn: Dsn,
    *,
    role: Annotated[str, typer.Option(help="ingest, qc, inventory or reader.")],
    connections: Annotated[int, typer.Option(min=1, help="How many it may have at a time.")] = 10,
) -> None:
    """Make a user of one role, and print its password: nothing else keeps it."""
    from ingest.database import connect  # noqa: PLC0415  needs the extra server
    from ingest.roles import Role  # noqa: PLC0415
    from ingest.roles import user as run  # noqa: PLC0415

    if role not in list(Role):
        msg = f"--role {role!r}: expected {', '.join(Role)}"
        raise DeployError(msg)
    with connect(dsn) as conn:
        password = run(conn, name, Role(role), connections=connections)
    typer.echo(password)
