"""The notebooks run from top to bottom, on real data where they need them."""

from pathlib import Path

import jupytext
import nbclient
import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def said(path) -> str:
    """Run a notebook; all it printed."""
    notebook = jupytext.read(path)
    place = {"metadata": {"path": NOTEBOOKS}}
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", resources=place).execute()
    return "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the notebook machinery's own
def test_gosan(shared):
    case = shared / "data" / "inversion" / "gosan_hfc23_2022.nc"
    assert case.exists()
    text = said(NOTEBOOKS / "gosan.md")
    assert "1482 observations at GSN" in text
    assert "Not resolved: region 2" in text
    assert "mean scaling 1.39" in text
    assert "The stated σ hold" in text
    assert "residual_correlation in 100%" in text
