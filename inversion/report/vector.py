"""Figures as SVG inside a page: letters as outlines, so that they show whatever fonts the reader has."""

from __future__ import annotations

import io
import re
from typing import Final

import matplotlib as mpl
from matplotlib.figure import Figure

_NUMBER: Final = re.compile(r"-?\d+\.\d{3,}")
_PLACES: Final = 2
"""Decimals of a coordinate: hundredths of a point, finer than any printer."""
_PIXELS: Final = 103
"""On a screen, per inch."""


def inline(figure: Figure, name: str) -> str:
    """Return a figure as an ``<svg>`` element.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    name : str
        Begins all its ids, so that several stand in one page; letters, digits and dashes.

    Returns
    -------
    str
        Text from data in it is outlines, or escaped. The same figure gives the same text.
    """
    stream = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": name}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)  # the outlined texts, once more
    text = re.sub(r'<g id="[^"]*">', "<g>", text)
    text = re.sub(r'(\bid=")', rf"\g<1>{name}-", text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(
        r'(<svg\b[^>]*?) width="[^"]*"',
        rf'\1 style="max-width: {figure.get_figwidth() * _PIXELS:.0f}px"',
        text,
        count=1,
    )
    text = re.sub(r'(<svg\b[^>]*?) height="[^"]*"', r"\1", text, count=1)
    return re.sub(r' d="[^"]*"', lambda path: _NUMBER.sub(_rounded, path[0]), text)


def _rounded(found: re.Match[str]) -> str:
    return f"{float(found[0]):.{_PLACES}f}".rstrip("0").rstrip(".")
