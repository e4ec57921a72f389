"""`skyledger files TO`: the files for servers that come with the package."""

import shutil
from pathlib import Path
from typing import Annotated, Final

import typer

from deploy.errors import DeployError

ROOT: Final = Path(__file__).parents[1]
FOLDERS: Final = ("dask", "grafana", "mosquitto", "postgresql", "prometheus", "systemd")
PAGES: Final = ("README.md", "SECURITY.md", "compose.yaml", "Containerfile")


def attach(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(files)


def files(to: Annotated[Path, typer.Argument(help="A folder that is not there yet.")]) -> None:
    """Write the files for servers: units of systemd, configurations of the broker and of what watches, compose.yaml."""
    if to.exists():
        raise DeployError(f"{to} is there already: give a folder that is not")
    to.mkdir(parents=True)
    for name in FOLDERS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in PAGES:
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, to)
    typer.echo(f"{to}: {', '.join(sorted(path.name for path in to.iterdir()))}")
