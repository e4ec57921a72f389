"""The figures of a report, each drawn once for the page and for its own file."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure

from inversion import maps, plot
from inversion.report import rows
from inversion.report.annex import Annex, Table
from inversion.report.figures import draw_kernel, draw_series
from inversion.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Pictures:
    """Figures of a table; None where there is nothing to draw."""

    map: Figure
    series: Figure | None
    kernel: Figure | None
    flux: Figure | None = None
    change: Figure | None = None


def draw(annex: Annex, words: Vocabulary) -> tuple[Pictures, ...]:
    """Return the figures of every table.

    Parameters
    ----------
    annex : Annex
    words : Vocabulary
        From `vocabulary.drawn`: what the fonts of this machine can write.
    """
    return tuple(_of_table(table, annex, words) for table in annex.tables)


def _of_table(table: Table, annex: Annex, words: Vocabulary) -> Pictures:
    drawn = maps.draw(
        table.comparison,
        stations=table.stations,
        review_number=annex.imprint.review_number,
        status=annex.imprint.status,
        words=words,
    )
    gas = rows.gas(table.comparison)
    series = None if table.series is None else draw_series(table.series, gas=gas, words=words)
    return Pictures(drawn, series, draw_kernel(table.comparison, words=words), *_fluxes(table, gas, words))


def _fluxes(table: Table, gas: str, words: Vocabulary) -> tuple[Figure | None, Figure | None]:
    """Return maps of the mean flux and of what the observations changed, where the table comes with fields."""
    fields = table.fields
    if fields is None or not {"flux_total_prior", "flux_total_posterior"} <= set(fields.data_vars):
        return None, None
    prior, after = fields["flux_total_prior"], fields["flux_total_posterior"]
    places = {station.name: (station.longitude, station.latitude) for station in table.stations}
    flux = plot.flux(after, stations=places, name=words("figure.flux_name", gas=gas))
    return flux, plot.difference(after, prior, stations=places, name=words("figure.change_name", gas=gas))
