"""The report of a cross-check: a page, a workbook, a netCDF file, a map and a time series, in one folder."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr
from matplotlib.figure import Figure

from inversion import maps
from inversion.maps import Station
from inversion.report import netcdf, page, rows, workbook
from inversion.report.figures import draw_series, station_series
from inversion.report.imprint import Imprint
from inversion.report.netcdf import read_stations, read_totals

__all__ = ["Imprint", "Station", "Written", "read_stations", "read_totals", "station_series", "write"]


@dataclass(frozen=True, slots=True)
class Written:
    """Where the parts of a report lie.

    Attributes
    ----------
    html, xlsx, netcdf, map_png : Path
    series_png : Path or None
        None where no series was given.
    """

    html: Path
    xlsx: Path
    netcdf: Path
    map_png: Path
    series_png: Path | None


def write(  # noqa: PLR0913 - the parts of a report are its arguments
    comparison: xr.Dataset,
    directory: str | Path,
    *,
    title: str,
    posterior: Any = None,
    series: xr.Dataset | None = None,
    stations: Sequence[Station] = (),
    notes: Sequence[str] = (),
    fields: xr.Dataset | None = None,
    imprint: Imprint | None = None,
) -> Written:
    """Write a report.

    Parameters
    ----------
    comparison : xr.Dataset
        From `crosscheck.compare`; it carries the inversion's findings and diagnostics.
    directory : path
        Made if it is not there; files of an earlier report in it are replaced.
    title : str
    posterior : inversion.posterior.Posterior, optional
        For the series of the station with most observations, where `series` is not given.
    series : xr.Dataset (time), optional
        From `station_series`, or with its variables.
    stations : sequence of Station
        For the map.
    notes : sequence of str
        Sentences to print.
    fields : xr.Dataset, optional
        Gridded variables for the netCDF file (`report.netcdf.FIELDS`).
    imprint : Imprint, optional

    Returns
    -------
    Written
    """
    folder, about = Path(directory), imprint or Imprint()
    folder.mkdir(parents=True, exist_ok=True)
    if series is None and posterior is not None and "site" in posterior.observations.coords:
        series = station_series(posterior.observations)
    drawn = maps.draw(comparison, stations=stations, review_number=about.review_number, status=about.status)
    map_png = _save(drawn, folder / "map.png")
    pictures = [page.Picture("Map", _MAP_CAPTION.format(gas=rows.gas(comparison)), map_png.read_bytes())]
    series_png = None
    if series is not None:
        series_png = _save(draw_series(series, gas=rows.gas(comparison)), folder / "series.png")
        caption = _SERIES_CAPTION.format(site=series.attrs.get("site", "one station"))
        pictures.append(page.Picture("One station", caption, series_png.read_bytes()))
    html = folder / "report.html"
    html.write_text(
        page.render(comparison, title=title, pictures=pictures, notes=notes, imprint=about), encoding="utf-8"
    )
    return Written(
        html=html,
        xlsx=workbook.write(folder / "crosscheck.xlsx", [comparison], title=title, notes=notes),
        netcdf=netcdf.write(
            netcdf.to_dataset(comparison, title=title, fields=fields, stations=stations), folder / "crosscheck.nc"
        ),
        map_png=map_png,
        series_png=series_png,
    )


_MAP_CAPTION = (
    "{gas}: difference between the inversion and the ledger as the inversion would have seen it, in its standard "
    "deviations; marks are verdicts, percentages the difference as an error of the ledger. Hatched: the network did "
    "not see enough, or the ledger has no value. White: not compared."
)
_SERIES_CAPTION = (
    "{site}: mole fractions observed (bars: error assumed in the inversion), and simulated with prior and posterior "
    "fluxes; below, what remains unexplained."
)


def _save(figure: Figure, path: Path) -> Path:
    """Write a PNG without the date it was made, so that the same data give the same file."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    path.write_bytes(stream.getvalue())
    return path
