"""Runs notebooks as a user would: a kernel of their own, from top to bottom."""

from pathlib import Path

import jupytext
import nbclient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def executed(name):
    """Run a notebook of the folder; it, with its outputs."""
    notebook = jupytext.read(NOTEBOOKS / name)
    place = {"metadata": {"path": NOTEBOOKS}}
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", resources=place).execute()
    return notebook


def text_of(notebook) -> str:
    """All that a notebook printed."""
    return "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))


def said(name) -> str:
    """Run a notebook; all it printed."""
    return text_of(executed(name))
