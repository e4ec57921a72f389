"""`skyledger demo`: the whole path on one machine."""

from pathlib import Path
from typing import Annotated

import typer


def attach(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    *,
    instrument_files: Annotated[
        Path | None, typer.Option(help="Replay the instrument files in this folder instead of simulating a network.")
    ] = None,
    directory: Annotated[Path, typer.Option(help="Where everything goes; made anew.")] = Path("demo-output"),
    days: Annotated[int, typer.Option(min=2, max=31, help="Length of the simulated record.")] = 7,
    row_seconds: Annotated[float, typer.Option(min=1, max=60, help="How often an instrument writes a row.")] = 6.0,
    keep_database: Annotated[
        bool, typer.Option(help="Keep the database, to look into it with `skyledger up`.")
    ] = False,
) -> None:
    """Show the whole path at work: instrument files, agents, broker, database, QC, inversion, cross-check, report."""
    from rich.console import Console  # noqa: PLC0415  needs the extras server, science and local

    from deploy.demo import files, run, summary  # noqa: PLC0415
    from deploy.local import stack  # noqa: PLC0415

    console = Console(highlight=False)
    if instrument_files is not None:
        outcome = files.run(instrument_files, directory, steps=run.Steps(console))
        typer.echo("\n".join(summary.of_files(outcome)))
        if not keep_database:
            stack.remove(directory / run.STACK)
        return
    typer.echo("A simulated network of eight stations: everything is real but the air.")
    done = run.run(directory, days=days, row_seconds=row_seconds, console=console)
    typer.echo()
    typer.echo("\n".join(summary.lines(done)))
    for name, path in summary.paths(done):
        typer.echo(f"{name:<12} {path}")
    typer.echo(f"All of it took {sum(done.seconds.values()):.0f} s.")
    if not keep_database:
        stack.remove(directory / run.STACK)
    if not summary.found(done):
        raise typer.Exit(1)
