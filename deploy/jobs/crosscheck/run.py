"""Lay inversions beside ledgers, and write the report in its state."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from deploy.errors import DeployError
from deploy.jobs.crosscheck import states
from deploy.jobs.crosscheck.settings import InversionSettings, LedgerSettings, Settings
from inversion import InversionError, crosscheck, inventory, report
from inversion.crosscheck import cells, members
from inversion.inventory import Inventory
from inversion.report import rows


@dataclass(frozen=True, slots=True)
class Outcome:
    """A report that was written.

    Attributes
    ----------
    annex : report.Annex
    files : tuple of Path
    """

    annex: report.Annex
    files: tuple[Path, ...]

    def lines(self) -> list[str]:
        """Return its tables as lines for a terminal."""
        made: list[str] = []
        for table in self.annex.tables:
            made += [table.name, *rows.lines(table.comparison), ""]
        return [*made, f"{self.annex.imprint.status}, digest {self.annex.digest}"]


@dataclass(frozen=True, slots=True)
class _Result:
    """An inversion as it was read."""

    settings: InversionSettings
    path: Path
    totals: xr.Dataset
    several: bool
    configurations: xr.Dataset | None


def run(settings: Settings, *, today: str) -> Outcome:
    """Make the report of a configuration, in the state it says.

    Parameters
    ----------
    settings : Settings
    today : str
        When the state was given, where the configuration does not say it.

    Returns
    -------
    Outcome

    Raises
    ------
    DeployError, InversionError
        One sentence: what is wrong, where, and what to do.
    """
    _require_files(settings)
    entries = states.history(settings.output)
    annex = assemble(settings)
    wanted = settings.state
    when = wanted.when or today
    step = report.Step(state=wanted.state, who=wanted.who, when=when, remarks=wanted.remarks, digest=annex.digest)
    states.require_allowed(entries, step, settings.output)
    kept = tuple(entry.step for entry in entries)
    shown = annex.imprint.history if wanted.state == "draft" else (step,)
    imprint = replace(annex.imprint, status=wanted.state, when=when, history=(*kept, *shown))
    finished = replace(annex, imprint=imprint)

    def write(folder: Path) -> tuple[Path, ...]:
        return report.write_annex(finished, folder, languages=settings.languages).files

    return Outcome(finished, states.keep(settings.output, step, write))


def _require_files(settings: Settings) -> None:
    """Say at once which files are not there."""
    named = [(f"the inversion {one.name!r}", one.file) for one in settings.inversions]
    named += [(f"a configuration of {one.name!r}", f) for one in settings.inversions for _, f in one.configurations]
    named += [(f"the ensemble of {one.name!r}", one.ensemble) for one in settings.inversions if one.ensemble]
    named += [(f"the ledger {one.name!r}", one.file) for one in settings.ledgers]
    named += [(f"the mapping of {o.name!r}", o.reading["mapping"]) for o in settings.ledgers if "mapping" in o.reading]
    missing = [f"{what}, {file}" for what, file in named if not (settings.folder / file).is_file()]
    if missing:
        msg = (
            f"{settings.name}: no such file: {'; '.join(missing)}; paths are relative to the folder of {settings.name}"
        )
        raise DeployError(msg)


def assemble(settings: Settings) -> report.Annex:
    """Return the report of a configuration, without its state."""
    results = {one.name: _result(settings, one) for one in settings.inversions}
    tables: list[report.Table] = []
    trends: list[report.Trend] = []
    for ledger in settings.ledgers:
        with _named(f"the ledger {ledger.name!r}"):
            book = _book(settings, ledger)
        chosen = _chosen(ledger, results)
        for result in chosen:
            with _named(f"the ledger {ledger.name!r} beside the inversion {result.settings.name!r}"):
                tables.append(_table(settings, ledger, book, result))
        if ledger.trends:
            with _named(f"the trends of the ledger {ledger.name!r}"):
                trends += _trends(settings, ledger, book, chosen)
    return report.Annex(
        title=settings.title,
        titles=settings.titles,
        tables=tuple(tables),
        trends=tuple(trends),
        notes=settings.notes,
        imprint=report.Imprint(
            prepared_by=", ".join(settings.authors),
            organisation=settings.organisation,
            review_number=settings.review_number,
        ),
        provenance=tuple(_provenance(settings, results)),
    )


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Say of an error which part of the configuration it came from."""
    try:
        yield
    except InversionError as error:
        msg = f"{what}: {error}"
        raise DeployError(msg) from error


def _result(settings: Settings, one: InversionSettings) -> _Result:
    path = settings.folder / one.file
    with _named(f"the inversion {one.name!r}"):
        totals, several = _totals(path)
        if one.ensemble is not None:
            configurations = members.read_members(settings.folder / one.ensemble, totals)
        elif one.configurations:
            others = {name: _totals(settings.folder / file)[0] for name, file in one.configurations}
            configurations = members.gathered({members.BASE: totals, **others})
        else:
            configurations = None
    return _Result(one, path, totals, several, configurations)


def _totals(path: Path) -> tuple[xr.Dataset, bool]:
    """Return the totals of a result over its window, and whether it has several periods."""
    try:
        with xr.open_dataset(path, engine="netcdf4") as opened:
            several = opened.sizes.get("time", 1) > 1
    except (OSError, ValueError) as error:
        msg = f"{path} is no netCDF file that can be read ({error})"
        raise DeployError(msg) from error
    return (crosscheck.over_window(crosscheck.read_periods(path)) if several else report.read_totals(path)), several


def _book(settings: Settings, ledger: LedgerSettings) -> Inventory:
    options = dict(ledger.reading)
    if "mapping" in options:
        options["mapping"] = settings.folder / options["mapping"]
    return inventory.read(settings.folder / ledger.file, ledger.format, **options)


def _whole(book: Inventory, category: str | None, sigma_percent: float | None) -> Inventory:
    """Add parts up to the category that is compared, and give it the σ it states none of."""
    book = inventory.whole(book, category)
    return book if sigma_percent is None else inventory.supposed(book, sigma_percent)


def _chosen(ledger: LedgerSettings, results: dict[str, _Result]) -> list[_Result]:
    if ledger.inversions:
        return [results[name] for name in ledger.inversions]
    found = [r for r in results.values() if ledger.gas is None or r.totals.attrs["gas"] in ("", ledger.gas)]
    if not found:
        have = ", ".join(sorted({str(r.totals.attrs["gas"]) for r in results.values()}))
        msg = f"the ledger {ledger.name!r} is of {ledger.gas}, but the inversions are of {have}"
        raise DeployError(msg)
    return found


def _table(settings: Settings, ledger: LedgerSettings, book: Inventory, result: _Result) -> report.Table:
    totals = result.totals
    period = ledger.period or _own_period(book, totals)
    about: dict[str, Any] = {"category": ledger.category, "period": period, "vintage": ledger.vintage}
    gas = ledger.gas or totals.attrs["gas"] or None
    whole = _whole(book, ledger.category, ledger.sigma_percent)
    table = crosscheck.compare(totals, whole, rule=settings.rule, gas=gas, **about)
    if result.configurations is not None:
        table = crosscheck.with_range(table, result.configurations)
    attribution = None
    if ledger.sectors:
        attribution = _attribution(settings, ledger, book, result, period)
    return report.Table(
        comparison=_shown(table, settings.shown),
        name=f"{result.settings.name} · {ledger.name}",
        stations=report.read_stations(result.path),
        fields=None if settings.shown else _fields(result.path),
        configurations=result.configurations,
        attribution=None if attribution is None else _shown(attribution, settings.shown),
    )


def _fields(path: Path) -> xr.Dataset | None:
    """Return the mean fluxes over the window of a flux file; None where a result has none, or only totals."""
    names = ["flux_total_prior", "flux_total_posterior"]
    with xr.open_dataset(path, engine="netcdf4") as opened:
        if any(name not in opened or set(opened[name].dims) != {"time", "latitude", "longitude"} for name in names):
            return None
        bounds = opened["time_bnds"].values
        weight = xr.DataArray((bounds[:, 1] - bounds[:, 0]).astype(np.float64), dims="time")
        return opened[names].weighted(weight).mean("time", keep_attrs=True).load()


def _own_period(book: Inventory, totals: xr.Dataset) -> str | None:
    """Return the period of the inversion, where the ledger has several and this one among them."""
    if len({entry.period for entry in book.entries}) == 1 or not totals.attrs.get("window"):
        return None
    period = cells.period_of(str(totals.attrs["window"]))
    return str(period) if any(entry.period == period for entry in book.entries) else None


def _attribution(
    settings: Settings, ledger: LedgerSettings, book: Inventory, result: _Result, period: str | None
) -> xr.Dataset:
    seen = crosscheck.read_sectors(result.path)
    categories = dict(ledger.sectors)
    parts = [_whole(book, one, ledger.sigma_percent) for listed in categories.values() for one in listed]
    entries = {entry.key: entry for part in parts for entry in part.entries}
    ledgers = crosscheck.ledgers_by_sector(
        replace(book, entries=tuple(entries.values())),
        cells.codes(seen),
        categories,
        gas=ledger.gas or seen.attrs["gas"] or None,
        period=period,
        vintage=ledger.vintage,
    )
    return crosscheck.attribution(seen, ledgers, rule=settings.rule)


def _trends(
    settings: Settings, ledger: LedgerSettings, book: Inventory, chosen: list[_Result]
) -> Iterator[report.Trend]:
    """Yield the trends over the periods of each result that has several, and over those of one period each."""
    several = [result for result in chosen if result.several]
    single = [result for result in chosen if not result.several]
    seen: list[tuple[str, Any]] = [(one.settings.name, crosscheck.read_periods(one.path)) for one in several]
    if single and (len(single) > 1 or not several):
        seen.append((", ".join(one.settings.name for one in single), [one.totals for one in single]))
    for name, totals in seen:
        made = crosscheck.trends(
            totals,
            _whole(book, ledger.category, ledger.sigma_percent),
            rule=settings.rule,
            gas=ledger.gas or chosen[0].totals.attrs["gas"] or None,
            category=ledger.category,
            vintage=ledger.vintage,
        )
        heading = ledger.name if len(seen) == 1 else f"{name} · {ledger.name}"
        yield report.Trend(trends=_shown(made, settings.shown), name=heading)


def _shown(ds: xr.Dataset, codes: tuple[str, ...]) -> xr.Dataset:
    """Return the regions that a report may show."""
    if not codes:
        return ds
    have = ds["region"].values.astype(str)
    strange = sorted(set(codes) - set(have.tolist()))
    if strange:
        msg = f"regions: {', '.join(strange)} are not in the inversion, which has {', '.join(have[:8])}, ..."
        raise DeployError(msg)
    kept = np.flatnonzero(np.isin(have, codes))
    return ds.isel({dim: kept for dim in ("region", "region_cov") if dim in ds.dims})


def _provenance(settings: Settings, results: dict[str, _Result]) -> Iterator[tuple[str, str, str]]:
    yield "configuration", "", f"{settings.name}, SHA-256 {settings.digest}"
    for result in results.values():
        one = result.settings
        yield "inversion", one.name, f"{_file(settings, one.file)}{_history(result.path)}"
        others = [*one.configurations, *((("ensemble", one.ensemble),) if one.ensemble else ())]
        for name, file in others:
            yield "configurations", name, _file(settings, file)
    for ledger in settings.ledgers:
        yield "ledger", ledger.name, _file(settings, ledger.file)
        if "mapping" in ledger.reading:
            yield "ledger", f"{ledger.name}, columns", _file(settings, ledger.reading["mapping"])


def _file(settings: Settings, name: str) -> str:
    return f"{name}, SHA-256 {hashlib.sha256((settings.folder / name).read_bytes()).hexdigest()}"


def _history(path: Path) -> str:
    """Return what a result says of how it was made."""
    with xr.open_dataset(path, engine="netcdf4") as opened:
        attrs = dict(opened.attrs)
    said = (
        f"; {attrs['inversion_system']} {attrs.get('inversion_system_version', '')}"
        if "inversion_system" in attrs
        else ""
    )
    try:
        known = json.loads(str(attrs.get("provenance", "{}")))
    except ValueError:
        known = {}
    digest = known.get("configuration_sha256") if isinstance(known, dict) else None
    return f"{said}, configuration SHA-256 {digest}" if digest else said
