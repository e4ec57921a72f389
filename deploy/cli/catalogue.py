"""`skyledger catalog apply`: stations, inlets, instruments, cylinders."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.ingest import Dsn

app = typer.Typer(help="Describe stations and what stands there.", no_args_is_help=True)


def attach(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="catalog")


@app.callback()
def catalog() -> None:
    """Describe stations and what stands there."""


@app.command()
def apply(
    file: Annotated[Path, typer.Argument(help="TOML file with [[station]] and [[cylinder]].")],
    dsn: Dsn,
) -> None:
    """Bring the catalogue to what a file says; what it does not mention stays."""
    from ingest import catalogue  # noqa: PLC0415  needs the extra server

    done = catalogue.apply(dsn, file)
    for what, labels in (("added", done.added), ("changed", done.changed)):
        for label in labels:
            typer.echo(f"{what} {label}")
    if not done.added and not done.changed:
        typer.echo("The catalogue says so already.")
