"""`skyledger archive show|write`: files of the world's archives, in and out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deploy.errors import DeployError
from deploy.options import Dsn

if TYPE_CHECKING:
    import xarray as xr

app = typer.Typer(help="Look into files of the archives, and write them.", no_args_is_help=True)

FORMATS = {"icos": ".txt", "wdcgg": ".txt", "obspack": ".nc"}
"""Formats that are written -> the ending of their files."""


def attach(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="archive")


@app.command()
def show(  # noqa: PLR0913  what files leave unsaid
    files: Annotated[list[Path], typer.Argument(help="Files of ICOS, WDCGG, ObsPack, NOAA, GCWerks, or any table.")],
    *,
    scale: Annotated[str | None, typer.Option(help="Calibration scale, where a file does not say it.")] = None,
    station: Annotated[str | None, typer.Option(help="Station, where a file does not say it.")] = None,
    inlet_height: Annotated[float | None, typer.Option(help="m above ground.")] = None,
    latitude: Annotated[float | None, typer.Option(help="Degrees north.")] = None,
    longitude: Annotated[float | None, typer.Option(help="Degrees east.")] = None,
    altitude: Annotated[float | None, typer.Option(help="m above sea level, of the ground.")] = None,
    mapping: Annotated[Path | None, typer.Option(help="TOML that says what the columns of a table are.")] = None,
    encoding: Annotated[str | None, typer.Option(help="Of a text that is not UTF-8.")] = None,
) -> None:
    """Say what files hold: gases, scale, times, and how many values are valid."""
    from ingest import files as archives  # noqa: PLC0415  needs the extra server
    from ingest.errors import FileError  # noqa: PLC0415

    failed = False
    for file in files:
        try:
            ds = archives.read(
                file,
                scale=scale,
                station=station,
                inlet_height=inlet_height,
                latitude=latitude,
                longitude=longitude,
                altitude=altitude,
                mapping=mapping,
                encoding=encoding,
            )
        except FileError as error:
            failed = True
            typer.echo(f"skyledger: {error}", err=True)
            continue
        _say(file, ds)
    if failed:
        raise typer.Exit(1)


def _say(file: Path, ds: "xr.Dataset") -> None:
    import numpy as np  # noqa: PLC0415

    from qc.flags import Flag  # noqa: PLC0415
    from qc.schema import OBS, valid  # noqa: PLC0415

    attrs = ds.attrs
    first, last = (np.datetime_as_string(moment, "m") for moment in ds["time_bnds"].values[[0, -1], [0, 1]])
    place = f"{attrs['latitude']:.4f}, {attrs['longitude']:.4f}, {attrs['altitude']:g} m"
    typer.echo(
        f"{file}: {attrs['source_format']}, {attrs['station']} {attrs['inlet']} ({place}), {first} to {last} UTC"
    )
    for gas in OBS.species(ds):
        good = ds[gas].values[valid(ds, gas).values]
        mean = f", mean {good.mean():.3f} {ds[gas].attrs['units']}" if good.size else ""
        numbers, counts = np.unique(ds[f"{gas}_flag"].values, return_counts=True)
        flags = ", ".join(f"{count} {Flag(number).name.lower()}" for number, count in zip(numbers, counts, strict=True))
        typer.echo(f"  {gas}: {ds.sizes['time']} values, {good.size} valid{mean}; {flags}; {ds[gas].attrs['scale']}")


@app.command()
def write(  # noqa: PLR0913  a command's options
    station: Annotated[str, typer.Argument(help="Station in the catalogue.")],
    inlet: Annotated[str, typer.Argument(help="Its inlet.")],
    dsn: Dsn,
    *,
    gas: Annotated[str, typer.Option(help="Which gas.")],
    form: Annotated[str, typer.Option("--format", help=f"One of {', '.join(FORMATS)}.")] = "obspack",
    start: Annotated[str | None, typer.Option("--from", help="From this time on (ISO 8601, UTC).")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Until before this time.")] = None,
    by_minute: Annotated[bool, typer.Option("--minutes", help="Means of minutes, not of hours.")] = False,
    contributor: Annotated[str, typer.Option(help="Who the data are from, for the file's header.")] = "",
    contact: Annotated[str, typer.Option(help="Address to ask.")] = "",
    data_license: Annotated[str, typer.Option("--license", help="Under which the data may be used.")] = "",
    output: Annotated[Path | None, typer.Option(help="The file; default: named after what is in it.")] = None,
) -> None:
    """Write the means of one gas at one inlet as an archive wants them."""
    from ingest import export, read  # noqa: PLC0415  needs the extra server

    if form not in FORMATS:
        msg = f"format {form!r} is not written, expected one of {', '.join(FORMATS)}"
        raise DeployError(msg)
    source = read.minutes if by_minute else read.hourly
    ds = source(
        dsn,
        station=station,
        inlet=inlet,
        species=gas,
        start=None if start is None else read.instant(start),
        end=None if end is None else read.instant(end),
    )
    said = {"contributor": contributor, "contact": contact, "license": data_license}
    path = output or Path(f"{gas}_{station}_{inlet}_{form}{FORMATS[form]}")
    getattr(export, form)(ds.assign_attrs({name: text for name, text in said.items() if text}), path, gas=gas)
    typer.echo(f"{path}: {ds.sizes['time']} values of {gas}")
