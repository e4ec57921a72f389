"""Where results are written: a place that can be, or one sentence."""

from __future__ import annotations

from pathlib import Path

from deploy.errors import DeployError


def file(path: Path) -> Path:
    """Return a path a file can be written to; its folder is made.

    Raises
    ------
    DeployError
        Where it is a folder, or its folder cannot be made.
    """
    if path.is_dir():
        msg = f"{path} is a folder; name a file in it"
        raise DeployError(msg)
    folder(path.parent)
    return path


def folder(path: Path) -> Path:
    """Return a folder to write into, made where it is not there.

    Raises
    ------
    DeployError
        Where it cannot be made, because it is a file or it is not allowed.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        msg = f"{path} is a file; name a folder"
        raise DeployError(msg) from error
    except OSError as error:
        msg = f"{path} cannot be made: {error.strerror}"
        raise DeployError(msg) from error
    return path
