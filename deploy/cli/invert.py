"""`skyledger invert CASE.nc`: solve a prepared inversion and say what the result is worth."""

from pathlib import Path
from typing import Annotated

import typer


def attach(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(invert)


def invert(
    case: Annotated[
        Path, typer.Argument(help="netCDF file of openghg_inversions with observations and sensitivities.")
    ],
    *,
    output: Annotated[Path | None, typer.Option(help="Write the result to this netCDF file.")] = None,
    sigma_x: Annotated[float, typer.Option(help="Prior error of the regional scalings.")] = 1.0,
    sigma_b: Annotated[float, typer.Option(help="Prior error of the boundary scalings.")] = 0.05,
    model_error: Annotated[
        float | None, typer.Option(help="Error of the model, in the units of the observations [the file's own].")
    ] = None,
    form: Annotated[str, typer.Option(help="auto, observation, state or root.")] = "auto",
) -> None:
    """Solve a prepared inversion: regional scalings with uncertainties, χ², degrees of freedom, findings."""
    from inversion import solve, summary  # noqa: PLC0415  needs the extra science
    from inversion.openghg import read_case  # noqa: PLC0415

    posterior = solve.batch(
        read_case(case, model_error=model_error).problem(sigma_x=sigma_x, sigma_b=sigma_b), form=form
    )
    typer.echo("\n".join(summary.lines(posterior)))
    if output is not None:
        posterior.to_dataset().to_netcdf(output)
        typer.echo(f"\nwritten: {output}")
