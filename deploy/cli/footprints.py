"""`skyledger footprints run CONFIG`: the footprints of a year of receptors."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Footprints: where the air of the receptors came from.", no_args_is_help=True)


def attach(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="footprints")


@app.callback()
def group() -> None:
    """Footprints: where the air of the receptors came from."""


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="TOML: model, receptors, meteorology, grid, output.")],
    *,
    scheduler: Annotated[str, typer.Option(help="processes, or a Dask scheduler's address.")] = "processes",
    workers: Annotated[int, typer.Option(min=1, help="Processes on this machine.")] = 1,
) -> None:
    """Compute the footprints that are not there yet; a run that was killed goes on where it was."""
    from rich import progress  # noqa: PLC0415  needs the extras server and science

    from deploy.jobs import footprints  # noqa: PLC0415

    columns = (
        progress.TextColumn("footprints"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns) as bar:
        task = bar.add_task("footprints", total=None)
        target = footprints.compute(
            footprints.read_run(config),
            scheduler=scheduler,
            workers=workers,
            told=lambda done, total: bar.update(task, completed=done, total=total),
        )
    typer.echo(f"written: {target}")
