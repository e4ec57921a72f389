"""Replacing a file whole."""

from __future__ import annotations

import os
from pathlib import Path


def replace_file(path: Path, data: bytes, *, mode: int = 0o644, durable: bool = True) -> None:
    """Write a file so that whoever reads it finds the old or the new one whole; if durable, after a power cut too."""
    beside = path.with_name(f".{path.name}.new")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with open(handle, "wb") as file:  # noqa: PTH123 - a handle with its mode
        file.write(data)
        file.flush()
        if durable:
            os.fsync(handle)
    beside.replace(path)
    if not durable:
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
