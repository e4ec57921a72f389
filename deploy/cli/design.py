"""`skyledger design CONFIG.toml`: what one more station would add, before it is built."""

from pathlib import Path
from typing import Annotated

import typer

from deploy import outputs


def attach(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(design)


def design(
    config: Annotated[Path, typer.Argument(help="TOML file of an inversion, with [[candidate]] tables.")],
    *,
    by: Annotated[str, typer.Option(help="dofs, or the total whose σ is to become small, as CN-LN.")] = "dofs",
    pick: Annotated[int, typer.Option(min=1, help="How many to choose, one after the other.")] = 1,
    output: Annotated[Path | None, typer.Option(help="Write the whole result to this netCDF file.")] = None,
    places: Annotated[
        str | None, typer.Option(help="Only print tables for places spread over this province, as CN-LN.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many, with --places.")] = 5,
    height: Annotated[float, typer.Option(min=0.0, help="Of the inlets above ground [m], with --places.")] = 50.0,
) -> None:
    """Rank stations that might be built by degrees of freedom, or by what they take off the σ of a total."""
    from deploy.jobs import inversion as job  # noqa: PLC0415  needs the extras server and science
    from inversion import twins as experiments  # noqa: PLC0415

    settings = job.read(config)
    if places is not None:
        for i, (longitude, latitude) in enumerate(job.places(settings, places, count), start=1):
            where = f"longitude = {longitude:.4f}\nlatitude = {latitude:.4f}\nheight = {height:g}"
            typer.echo(f'[[inlet]]\nsite = "{places} {i}"\n{where}\n')
        return
    result = job.design(settings, by=by, pick=pick)
    typer.echo("\n".join(experiments.design_lines(result)))
    if output is not None:
        result.to_netcdf(outputs.file(output))
        typer.echo(f"\nwritten: {output}")
