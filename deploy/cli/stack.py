"""`skyledger up` and `skyledger down`: the one-machine stack."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.services import INGEST, MIGRATE, QC

DATA_DIR = Path("skyledger-data")

DataDir = Annotated[Path, typer.Option("--data-dir", help="Folder of the stack: database, broker's sessions, logs.")]

SERVICES = (MIGRATE, INGEST, QC)


def attach(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(up)
    app.command()(down)


def up(
    data_dir: DataDir = DATA_DIR,
    *,
    detach: Annotated[bool, typer.Option("--detach", help="Return once everything runs; `down` stops it.")] = False,
    broker_port: Annotated[
        int, typer.Option(min=0, max=65535, help="TCP port of the broker; 0: the one of last time, or a free one.")
    ] = 0,
) -> None:
    """Run a database, a broker, ingest and quality control on this machine, until Ctrl-C."""
    from deploy.local.stack import Stack  # noqa: PLC0415  needs the extras server and local

    stack = Stack(data_dir, services=SERVICES, broker_port=broker_port, detached=detach, say=typer.echo)
    stack.start()
    typer.echo(f"database  {stack.dsn}")
    typer.echo(f"broker    {stack.address}")
    if detach:
        typer.echo(f"Everything runs; `skyledger down --data-dir {data_dir}` stops it.")
        return
    typer.echo("Everything runs until Ctrl-C.")
    try:
        stack.wait()
        typer.echo("Stopped from elsewhere.")
    except KeyboardInterrupt:
        typer.echo("\nStopping …")
    finally:
        stack.stop()


def down(data_dir: DataDir = DATA_DIR) -> None:
    """Stop the stack that runs on a folder."""
    from deploy.local import stack  # noqa: PLC0415  needs the extras server and local

    if stack.down(data_dir):
        typer.echo(f"Stopped the stack on {data_dir}.")
    else:
        typer.echo(f"No stack runs on {data_dir}.")
