"""Runs notebooks as a user would: a kernel of their own, from top to bottom."""

from pathlib import Path

import jupytext
import nbclient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def read(name):
    """Read a notebook of the folder."""
    return jupytext.read(NOTEBOOKS / name)


def execute(notebook, *, allow_errors=False) -> None:
    """Run a notebook; its outputs are in it then."""
    place = {"metadata": {"path": NOTEBOOKS}}
    nbclient.NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources=place, allow_errors=allow_errors
    ).execute()


def executed(name):
    """Run a notebook of the folder; it, with its outputs."""
    notebook = read(name)
    execute(notebook)
    return notebook


def pictures(notebook) -> int:
    """How many pictures a notebook shows."""
    return sum("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", []))


def codes(notebook) -> list:
    """The cells that are run."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def text_of(notebook) -> str:
    """All that a notebook printed."""
    return "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))


def said(name) -> str:
    """Run a notebook; all it printed."""
    return text_of(executed(name))
