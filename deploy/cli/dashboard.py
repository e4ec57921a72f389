"""`skyledger dashboard`: the network page, and who may flag on it."""

import logging
from pathlib import Path
from typing import Annotated

import typer

from deploy import logs
from deploy.errors import DeployError

app = typer.Typer(help="The network page, for browsers.", invoke_without_command=True)

Users = Annotated[Path, typer.Option(help="File of those who may flag.")]
USERS = Path("dashboard-users.json")


def attach(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="dashboard")


@app.callback()
def serve(  # noqa: PLR0913  a command's options
    context: typer.Context,
    *,
    dsn: Annotated[
        str | None,
        typer.Option(envvar="SKYLEDGER_DSN", help="Database, as a user of the role reader.", show_default=False),
    ] = None,
    write_dsn: Annotated[
        str | None,
        typer.Option(envvar="SKYLEDGER_WRITE_DSN", help="With --users: database, as a user of the role qc."),
    ] = None,
    users: Annotated[Path | None, typer.Option(help="File of those who may flag; without it nobody logs in.")] = None,
    secret: Annotated[
        Path | None, typer.Option(help="File of what signs cookies; made where it is not there [beside --users].")
    ] = None,
    address: Annotated[str, typer.Option(help="Where it listens: this machine alone, unless you say otherwise.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535, envvar="SKYLEDGER_DASHBOARD_PORT", help="TCP port.")] = 5006,
    tls_cert: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Certificate (PEM).")] = None,
    tls_key: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Its key (PEM).")] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Answer other machines without TLS: behind a proxy that has it.")
    ] = False,
    allow_websocket_origin: Annotated[
        list[str] | None, typer.Option(help="HOST or HOST:PORT visitors type, where it is another; may be repeated.")
    ] = None,
    crosscheck: Annotated[
        Path | None, typer.Option(help="Result of `skyledger crosscheck`, or a folder: the newest in it.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="QC's TOML with [[series]]; skyledger's own if left out.")] = None,
) -> None:
    """Serve the network page until Ctrl-C: stations on a map, series with flags, calibrations, the cross-check.

    It only reads. With --users and --write-dsn, who logs in can flag ranges of time by hand.
    """
    if context.invoked_subcommand is not None:
        return
    if dsn is None:
        msg = "--dsn: which database is to be shown? (or SKYLEDGER_DSN)"
        raise DeployError(msg)
    from deploy.dashboard import comparison, server  # noqa: PLC0415  needs the extras dashboard, server and science
    from deploy.dashboard.page import Shown  # noqa: PLC0415
    from deploy.jobs import network  # noqa: PLC0415

    logs.start(steady=True, secrets=logs.secrets_of(dsn, *logs.secrets_of(write_dsn or "")))
    for library in ("tornado", "bokeh", "panel"):
        logging.getLogger(library).setLevel(logging.WARNING)
    beside = None if users is None else users.with_name("dashboard-secret")
    source = None if crosscheck is None else comparison.Source(crosscheck)
    given = server.Settings(
        dsn=dsn,
        address=address,
        port=port,
        origins=tuple(allow_websocket_origin or ()),
        certificate=tls_cert,
        key=tls_key,
        plain=plain,
        users=users,
        secret=secret or beside,
        write_dsn=(write_dsn or "") if users is not None else "",
        shown=Shown(network.network_configuration(config), source),
    )
    server.run(given, typer.echo)


@app.command()
def user(
    name: Annotated[str, typer.Argument(help="A person's name; it goes to the ledger with each flag.")],
    users: Users = USERS,
    *,
    remove: Annotated[bool, typer.Option("--remove", help="Take the user out instead.")] = False,
) -> None:
    """Let somebody flag on the page: asks for the password, twice, and keeps its hash."""
    from deploy.dashboard import users as file  # noqa: PLC0415

    if remove:
        file.remove(users, name)
        typer.echo(f"{name} may no longer flag")
        return
    password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    new = file.put(users, name, password)
    typer.echo(f"{name} {'may flag' if new else 'has another password'}: {users}")
