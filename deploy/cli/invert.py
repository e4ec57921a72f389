"""`skyledger invert CONFIG.toml | CASE.nc`: solve an inversion and say what the result is worth."""

from pathlib import Path
from typing import Annotated, Any

import typer


def attach(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(invert)


def invert(  # noqa: PLR0913  each is an option of the command line
    source: Annotated[
        Path,
        typer.Argument(help="TOML file that says what to assemble, or a netCDF file of openghg_inversions."),
    ],
    *,
    output: Annotated[Path | None, typer.Option(help="Write the result to this netCDF file.")] = None,
    ensemble: Annotated[bool, typer.Option("--ensemble", help="TOML: solve every [[ensemble]] member too.")] = False,
    sigma_x: Annotated[float | None, typer.Option(help="netCDF: prior error of the regional scalings [1.0].")] = None,
    sigma_b: Annotated[float | None, typer.Option(help="netCDF: prior error of the boundary scalings [0.05].")] = None,
    model_error: Annotated[
        float | None,
        typer.Option(help="netCDF: error of the model, in the units of the observations [the file's own]."),
    ] = None,
    form: Annotated[str | None, typer.Option(help="netCDF: auto, observation, state or root [auto].")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="TOML: local, or a Dask scheduler's address; by default this process's threads.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="TOML: processes, with --scheduler local.")] = 2,
    checkpoint: Annotated[
        Path | None, typer.Option(help="TOML: the variational solver keeps its steps here and goes on from them.")
    ] = None,
    memory_gb: Annotated[
        float | None, typer.Option(min=0.01, help="TOML: what the solver may hold beside H [the solver's own].")
    ] = None,
) -> None:
    """Solve an inversion: fluxes with uncertainties, χ², degrees of freedom, findings."""
    options = {"--sigma-x": sigma_x, "--sigma-b": sigma_b, "--model-error": model_error, "--form": form}
    given = [name for name, value in options.items() if value is not None]
    if source.suffix == ".toml":
        if given:
            raise typer.BadParameter(
                f"{', '.join(given)}: a configuration says this itself; write it into {source.name}"
            )
        from deploy.jobs.inversion.cluster import cluster  # noqa: PLC0415  needs the extra science

        with cluster(scheduler, workers) as link:
            if link is not None:
                typer.echo(f"dashboard: {link}", err=True)
            _configured(source, output, ensemble=ensemble, checkpoint=checkpoint, memory_gb=memory_gb)
        return
    large = {"--scheduler": scheduler, "--checkpoint": checkpoint, "--memory-gb": memory_gb}
    given = [name for name, value in large.items() if value is not None]
    if given:
        raise typer.BadParameter(f"{', '.join(given)}: goes with a TOML configuration")
    if ensemble:
        raise typer.BadParameter("--ensemble: goes with a TOML configuration that has [[ensemble]] tables")
    errors = {"sigma_x": 1.0 if sigma_x is None else sigma_x, "sigma_b": 0.05 if sigma_b is None else sigma_b}
    _prepared(source, output, model_error=model_error, form=form or "auto", errors=errors)


def _configured(
    source: Path, output: Path | None, *, ensemble: bool, checkpoint: Path | None, memory_gb: float | None
) -> None:
    from deploy.jobs import inversion as job  # noqa: PLC0415  needs the extras server and science

    settings = job.read(source)
    outcome = job.run(
        settings,
        ensemble=ensemble,
        told=lambda name: typer.echo(f"solving: {name}", err=True),
        checkpoint=checkpoint,
        memory_gb=memory_gb,
    )
    typer.echo("\n".join(outcome.lines()))
    target = output or settings.output
    if target is not None:
        typer.echo(f"\nwritten: {job.write(outcome, target)}")
    for path in job.write_paris(outcome, settings.paris) if settings.paris is not None else ():
        typer.echo(f"written: {path}")


def _prepared(
    source: Path, output: Path | None, *, model_error: float | None, form: str, errors: dict[str, Any]
) -> None:
    from inversion import solve, summary  # noqa: PLC0415  needs the extra science
    from inversion.openghg import read_case  # noqa: PLC0415

    posterior = solve.batch(read_case(source, model_error=model_error).problem(**errors), form=form)
    typer.echo("\n".join(summary.lines(posterior)))
    if output is not None:
        posterior.to_dataset().to_netcdf(output)
        typer.echo(f"\nwritten: {output}")
