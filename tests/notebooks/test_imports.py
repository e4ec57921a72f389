"""Notebooks show what a user can do: they import public names, and nothing of the tests."""

import ast

import pytest

from tests.notebooks.run import NOTEBOOKS, codes, read


def faults(source: str) -> list[str]:
    """What of a cell is no user's business."""
    tree = ast.parse("\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines()))
    found = []
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module or '.'}.{alias.name}" for alias in node.names]
            found += [f"relative import of {name}" for name in names if node.level]
        elif isinstance(node, ast.Attribute):
            names = [node.attr]
        for name in names:
            parts = name.split(".")
            imported = not isinstance(node, ast.Attribute)
            if (imported and parts[0] == "tests") or any(
                part.startswith("_") and not part.endswith("__") for part in parts
            ):
                found.append(name)
    return found


THERE = sorted(
    path.name for path in NOTEBOOKS.glob("*.md") if path.read_text("utf-8").startswith("---\njupytext")
)  # beside them lie pages


@pytest.mark.parametrize("name", THERE)
def test_notebooks_use_public_names_only(name):
    cells = codes(read(name))
    assert len(cells) > 2
    assert [fault for cell in cells for fault in faults(cell.source)] == []


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("from tests.servers import throwaway_broker", ["tests.servers.throwaway_broker"]),
        ("import tests", ["tests"]),
        ("%matplotlib inline\nfrom inversion.maps import _outlines", ["inversion.maps._outlines"]),
        ("import inversion.transport._kernel as kernel", ["inversion.transport._kernel"]),
        ("fit._curves.grid", ["_curves"]),
        ("from qc import plot\nplot.series(hours, 'co2').__class__", []),
    ],
)
def test_the_check_finds_what_is_private(source, said):
    assert faults(source) == said
