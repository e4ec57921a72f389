"""The report of a cross-check: pages, a workbook, CSV, netCDF files, maps and time series, in one folder."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr
from matplotlib.figure import Figure

from inversion import vocabulary
from inversion.maps import Station
from inversion.report import delimited, netcdf, page, pictures, workbook
from inversion.report.annex import Annex, Table, Trend
from inversion.report.figures import station_series
from inversion.report.imprint import STATES, Imprint, Step
from inversion.report.netcdf import read_stations, read_totals
from inversion.vocabulary import LANGUAGES, Vocabulary

__all__ = [
    "LANGUAGES",
    "STATES",
    "Annex",
    "Imprint",
    "Station",
    "Step",
    "Table",
    "Trend",
    "Written",
    "read_stations",
    "read_totals",
    "station_series",
    "write",
    "write_annex",
]


@dataclass(frozen=True, slots=True)
class Written:
    """Where the parts of a report lie.

    Attributes
    ----------
    pages, netcdfs, maps, series, fluxes : tuple of Path
        One page a language; one of the others a table (a series only where one was given, maps of the mean flux and of
        its change only with fields), and netCDF files of trends and sectors after those of the tables.
    xlsx, csv : Path
    """

    pages: tuple[Path, ...]
    xlsx: Path
    csv: Path
    netcdfs: tuple[Path, ...]
    maps: tuple[Path, ...]
    series: tuple[Path, ...]
    fluxes: tuple[Path, ...] = ()

    @property
    def html(self) -> Path:
        """The page, of several that in the language named first."""
        return self.pages[0]

    @property
    def netcdf(self) -> Path:
        """The netCDF file, of several the first."""
        return self.netcdfs[0]

    @property
    def map_png(self) -> Path:
        """The map, of several the first."""
        return self.maps[0]

    @property
    def series_png(self) -> Path | None:
        """The time series, of several the first; None where no series was given."""
        return self.series[0] if self.series else None

    @property
    def files(self) -> tuple[Path, ...]:
        """All files, the pages first."""
        return (*self.pages, self.xlsx, self.csv, *self.netcdfs, *self.maps, *self.series, *self.fluxes)


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
    """Write the report of one comparison, in English.

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
        Gridded variables for the netCDF file (`report.netcdf.FIELDS`); with prior and posterior fluxes on latitude and
        longitude the page has maps of them.
    imprint : Imprint, optional

    Returns
    -------
    Written
    """
    if series is None and posterior is not None and "site" in posterior.observations.coords:
        series = station_series(posterior.observations)
    table = Table(comparison=comparison, series=series, stations=stations, fields=fields)
    annex = Annex(title=title, tables=(table,), notes=tuple(notes), imprint=imprint or Imprint())
    return write_annex(annex, directory)


def write_annex(annex: Annex, directory: str | Path, *, languages: Sequence[str] = ("en",)) -> Written:
    """Write a report of one or several tables.

    Parameters
    ----------
    annex : Annex
    directory : path
        Made if it is not there; files of an earlier report in it are replaced.
    languages : sequence of {"en", "zh"}
        One page each (``report.html`` in English, ``report.zh.html`` in Chinese); the workbook has the heads of both.

    Returns
    -------
    Written
    """
    folder = Path(directory)
    spoken = [Vocabulary(language) for language in languages]
    folder.mkdir(parents=True, exist_ok=True)
    figures = {words: pictures.draw(annex, words) for words in {vocabulary.drawn(words) for words in spoken}}
    pages = []
    for words in spoken:
        path = folder / ("report.html" if words.language == "en" else f"report.{words.language}.html")
        path.write_text(page.render(annex, words, figures[vocabulary.drawn(words)]), encoding="utf-8")
        pages.append(path)
    drawn = figures[vocabulary.drawn(spoken[0])]
    several = len(annex.tables) > 1
    ends = [f"-{number}" if several else "" for number in range(1, len(annex.tables) + 1)]
    return Written(
        pages=tuple(pages),
        xlsx=workbook.write(folder / "crosscheck.xlsx", annex, spoken),
        csv=delimited.write(folder / "crosscheck.csv", annex),
        netcdfs=tuple(_netcdfs(annex, folder, ends)),
        maps=tuple(_save(one.map, folder / f"map{end}.png") for one, end in zip(drawn, ends, strict=True)),
        series=tuple(
            _save(one.series, folder / f"series{end}.png")
            for one, end in zip(drawn, ends, strict=True)
            if one.series is not None
        ),
        fluxes=tuple(
            _save(figure, folder / f"{name}{end}.png")
            for one, end in zip(drawn, ends, strict=True)
            for name, figure in (("flux", one.flux), ("change", one.change))
            if figure is not None
        ),
    )


def _netcdfs(annex: Annex, folder: Path, ends: Sequence[str]) -> Iterator[Path]:
    for end, table in zip(ends, annex.tables, strict=True):
        title = " - ".join(filter(None, (annex.title, table.name)))
        dataset = netcdf.to_dataset(table.comparison, title=title, fields=table.fields, stations=table.stations)
        state = {"report_state": annex.imprint.status, "report_digest_sha256": annex.digest}
        yield netcdf.write(dataset.assign_attrs(state), folder / f"crosscheck{end}.nc")
    for number, trend in enumerate(annex.trends, 1):
        yield _plain(trend.trends, " - ".join(filter(None, (annex.title, trend.name))), folder / f"trends-{number}.nc")
    for end, table in zip(ends, annex.tables, strict=True):
        if table.attribution is not None:
            title = " - ".join(filter(None, (annex.title, table.name)))
            yield _plain(table.attribution, title, folder / f"sectors{end}.nc")


def _plain(ds: xr.Dataset, title: str, path: Path) -> Path:
    netcdf.plain(ds, title=title).to_netcdf(path, engine="netcdf4")
    return path


def _save(figure: Figure, path: Path) -> Path:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    path.write_bytes(stream.getvalue())
    return path
