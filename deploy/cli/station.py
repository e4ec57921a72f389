"""`skyledger station add NAME`: what a technician carries to a station."""

from pathlib import Path
from typing import Annotated

import typer

from deploy.cli.pki import PKI, Folder, Request, To

app = typer.Typer(help="Stations: what a technician carries there.", no_args_is_help=True)


def attach(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="station")


@app.callback()
def station() -> None:
    """Stations: what a technician carries there."""


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="As in topics and the catalogue: a-z, 0-9, - and _.")],
    broker: Annotated[str, typer.Option(help="Name of the broker, or name:port.")],
    driver: Annotated[str, typer.Option(help="Of its instrument: see `station-agent drivers`.")] = "picarro",
    path: Annotated[str, typer.Option(help="Its files.")] = "/data/picarro/DataLog_User_*.dat",
    days: Annotated[int, typer.Option(min=1, help="How long its certificate is good.")] = 825,
    to: To = None,
    folder: Folder = PKI,
    request: Request = None,
) -> None:
    """Write a folder with certificate, key, agent.toml and the lines to type."""
    from deploy.pki import Authority  # noqa: PLC0415  needs the extra server
    from deploy.pki.parcel import write  # noqa: PLC0415

    parcel = write(
        Authority(folder),
        name,
        broker=broker,
        driver=driver,
        path=path,
        days=days,
        folder=to or Path(name),
        request=request,
    )
    typer.echo(f"station {name}: {parcel}/ is what the technician carries; INSTALL.txt says what to type")
