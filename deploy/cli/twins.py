"""`skyledger twins CONFIG.toml | CASE.nc`: draw truths, invert them, and say whether the stated uncertainties hold."""

from pathlib import Path
from typing import Annotated, Any

import typer

from deploy import outputs


def attach(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(twins)


def twins(  # noqa: PLR0913  options of a command
    source: Annotated[
        Path,
        typer.Argument(help="TOML file of an inversion, or a netCDF file of openghg_inversions."),
    ],
    *,
    draws: Annotated[int, typer.Option(min=2, help="Number of twins.")] = 200,
    seed: Annotated[int, typer.Option(help="Of the random numbers; the same seed draws the same truths.")] = 1,
    prior_factor: Annotated[
        float, typer.Option(help="True prior errors of regions and boundary, times those assumed.")
    ] = 1.0,
    noise_factor: Annotated[float, typer.Option(help="True σ of observation and model, times that assumed.")] = 1.0,
    noise_hours: Annotated[
        float, typer.Option(help="Time over which true errors of a site hang together [h]; 0: not at all.")
    ] = 0.0,
    sigma_x: Annotated[float | None, typer.Option(help="netCDF: prior error of the regional scalings [1.0].")] = None,
    sigma_b: Annotated[float | None, typer.Option(help="netCDF: prior error of the boundary scalings [0.05].")] = None,
    model_error: Annotated[
        float | None,
        typer.Option(help="netCDF: error of the model, in the units of the observations [the file's own]."),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write every draw to this netCDF file.")] = None,
) -> None:
    """Twin experiment of an inversion: coverage, bias, power, and whether its diagnostics would notice."""
    from inversion import twins as experiments  # noqa: PLC0415  needs the extra science

    asked = {"--sigma-x": sigma_x, "--sigma-b": sigma_b, "--model-error": model_error}
    given = [name for name, value in asked.items() if value is not None]
    nature = {"prior_factor": prior_factor, "noise_factor": noise_factor, "noise_hours": noise_hours}
    if source.suffix == ".toml":
        if given:
            raise typer.BadParameter(
                f"{', '.join(given)}: a configuration says this itself; write it into {source.name}"
            )
        from deploy.jobs import inversion as job  # noqa: PLC0415

        result = job.twin_experiment(job.read(source), draws=draws, seed=seed, **nature)
    else:
        errors = {"sigma_x": 1.0 if sigma_x is None else sigma_x, "sigma_b": 0.05 if sigma_b is None else sigma_b}
        result = _prepared(source, draws, seed, nature, errors, model_error)
    typer.echo("\n".join(experiments.lines(result)))
    if output is not None:
        result.to_netcdf(outputs.file(output))
        typer.echo(f"\nwritten: {output}")


def _prepared(
    case: Path, draws: int, seed: int, nature: dict[str, float], errors: dict[str, float], model_error: float | None
) -> Any:
    import numpy as np  # noqa: PLC0415
    import xarray as xr  # noqa: PLC0415

    from inversion import twins as experiments  # noqa: PLC0415
    from inversion.diagnostics import state_name  # noqa: PLC0415
    from inversion.openghg import read_case  # noqa: PLC0415

    problem = read_case(case, model_error=model_error).problem(**errors)
    names = [state_name(problem.x_a, i) for i in range(problem.n_state)]
    W = xr.DataArray(
        np.eye(len(names)), dims=("total", "state"), coords={"total": names}, attrs={"units": problem.x_units}
    )
    world = experiments.scaled_nature(problem, **nature)
    return experiments.run(problem, W, rng=np.random.default_rng(seed), draws=draws, nature=world)
