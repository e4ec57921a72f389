"""`skyledger catalog apply|show|export|history`: stations, inlets, instruments, cylinders."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.errors import DeployError
from deploy.options import Dsn, Who

app = typer.Typer(help="Describe stations and what stands there.", no_args_is_help=True)
OneStation = Annotated[str | None, typer.Argument(help="Only this one.", show_default=False)]


def attach(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="catalog")


@app.callback()
def catalog() -> None:
    """Describe stations and what stands there."""


@app.command()
def apply(
    files: Annotated[
        list[Path], typer.Argument(help="TOML with [[station]] and [[cylinder]], or CSV tables; together one document.")
    ],
    dsn: Dsn,
    who: Who,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
) -> None:
    """Bring the catalogue to what files say; what they do not mention stays."""
    from ingest import catalogue  # noqa: PLC0415  needs the extra server

    done = catalogue.apply(dsn, *files, dry_run=dry_run, who=who)
    for line in done.lines:
        typer.echo(line)
    if not done.lines:
        typer.echo("The catalogue says so already.")
    elif dry_run:
        typer.echo("Nothing was written: --dry-run.")


@app.command()
def show(dsn: Dsn, station: OneStation = None) -> None:
    """Say what is in force today."""
    from ingest import catalogue  # noqa: PLC0415  needs the extra server

    found = catalogue.export(dsn)
    stations = [s for s in found["station"] if station in (None, s["name"])]
    if station is not None and not stations:
        names = ", ".join(s["name"] for s in found["station"]) or "none"
        msg = f"station {station!r} is not in the catalogue; it has {names}"
        raise DeployError(msg)
    if not (stations or found["cylinder"]):
        typer.echo("The catalogue is empty: `skyledger catalog apply` fills it.")
    for one in stations:
        _show(one)
    for cylinder in found["cylinder"] if station is None else []:
        if _holds(cylinder):
            sure = f" ± {cylinder['uncertainty']:g}" if "uncertainty" in cylinder else ""
            typer.echo(
                f"cylinder {cylinder['name']}: {cylinder['species']} {cylinder['value']:g}{sure}, {cylinder['scale']}"
            )


def _show(station: dict[str, Any]) -> None:
    names = [station[key] for key in ("title", "region", "gbt_2260", "wigos") if key in station]
    place = f"{station['latitude']:.4f}, {station['longitude']:.4f}, {station['altitude']:g} m"
    typer.echo(f"station {station['name']}: {place}{''.join(f', {name}' for name in names)}")
    for inlet in station.get("inlet", []):
        typer.echo(f"  inlet {inlet['name']}: {inlet['height']:g} m")
    for instrument in station.get("instrument", []):
        said = " ".join(str(instrument[key]) for key in ("model", "serial", "driver") if key in instrument)
        typer.echo(f"  instrument {instrument['name']}: {said or 'nothing said'}")
        for port in instrument.get("port", []):
            if _holds(port):
                typer.echo(f"    {'port ' + port['port'] if 'port' in port else 'no valve'}: inlet {port['inlet']}")
        if "channel" in instrument:
            typer.echo(f"    channels: {', '.join(c['quantity'] for c in instrument['channel'])}")


def _holds(dated: dict[str, Any]) -> bool:
    now = datetime.now(UTC)
    return ("from" not in dated or dated["from"] <= now) and ("to" not in dated or dated["to"] > now)


@app.command()
def export(dsn: Dsn) -> None:
    """Print the whole catalogue as TOML, with all that ever held; applied elsewhere it gives the same."""
    from ingest import catalogue  # noqa: PLC0415  needs the extra server

    typer.echo(catalogue.toml(catalogue.export(dsn)), nl=False)


@app.command()
def history(dsn: Dsn, station: OneStation = None) -> None:
    """Say what was changed, when and by whom."""
    from ingest import catalogue  # noqa: PLC0415  needs the extra server

    changes = catalogue.history(dsn, station)
    if not changes:
        typer.echo("Nothing has been changed yet." if station is None else f"Nothing is kept of a station {station!r}.")
    for change in changes:
        typer.echo(f"{change.made:%Y-%m-%d %H:%M} {change.who or 'somebody'}: {change}")
