"""`skyledger twins CASE.nc`: draw truths, invert them, and say whether the stated uncertainties hold."""

from pathlib import Path
from typing import Annotated

import typer


def attach(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(twins)


def twins(  # noqa: PLR0913  options of a command
    case: Annotated[
        Path, typer.Argument(help="netCDF file of openghg_inversions with observations and sensitivities.")
    ],
    *,
    draws: Annotated[int, typer.Option(help="Number of twins.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the random numbers; the same seed draws the same truths.")] = 1,
    prior_factor: Annotated[
        float, typer.Option(help="True prior errors of regions and boundary, times those assumed.")
    ] = 1.0,
    noise_factor: Annotated[float, typer.Option(help="True σ of observation and model, times that assumed.")] = 1.0,
    noise_hours: Annotated[
        float, typer.Option(help="Time over which true errors of a site hang together [h]; 0: not at all.")
    ] = 0.0,
    sigma_x: Annotated[float, typer.Option(help="Prior error of the regional scalings.")] = 1.0,
    sigma_b: Annotated[float, typer.Option(help="Prior error of the boundary scalings.")] = 0.05,
    model_error: Annotated[
        float | None, typer.Option(help="Error of the model, in the units of the observations [the file's own].")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write every draw to this netCDF file.")] = None,
) -> None:
    """Twin experiment of a prepared inversion: coverage, bias, power, and whether its diagnostics would notice."""
    import numpy as np  # noqa: PLC0415  needs the extra science
    import xarray as xr  # noqa: PLC0415

    from inversion import twins as experiments  # noqa: PLC0415
    from inversion.diagnostics import state_name  # noqa: PLC0415
    from inversion.openghg import read_case  # noqa: PLC0415

    problem = read_case(case, model_error=model_error).problem(sigma_x=sigma_x, sigma_b=sigma_b)
    names = [state_name(problem.x_a, i) for i in range(problem.n_state)]
    W = xr.DataArray(
        np.eye(len(names)), dims=("total", "state"), coords={"total": names}, attrs={"units": problem.x_units}
    )
    nature = experiments.scaled_nature(
        problem, prior_factor=prior_factor, noise_factor=noise_factor, noise_hours=noise_hours
    )
    result = experiments.run(problem, W, rng=np.random.default_rng(seed), draws=draws, nature=nature)
    typer.echo("\n".join(experiments.lines(result)))
    if output is not None:
        result.to_netcdf(output)
        typer.echo(f"\nwritten: {output}")
