"""The configuration of an inversion: TOML into frozen dataclasses, all faults at once."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from deploy.errors import DeployError
from deploy.jobs.inversion.members import members
from inversion import solve
from inversion.assemble.observed import KINDS, PerSite
from inversion.covariance.kernels import KINDS as KINDS_OF_CORRELATION
from inversion.regions import MASS_UNITS
from qc.document import Table, load

BASES: Final = ("cells", "provinces", "quadtree", "mask", "domain")
BACKGROUNDS: Final = ("baseline", "curtain", "field", "none")
INLETS: Final = "upper"
SHAPES: Final = tuple(KINDS_OF_CORRELATION)
_PROFILES: Final = {"month": 12, "weekday": 7, "hour": 24}


@dataclass(frozen=True, slots=True)
class Observations:
    """Observations of one gas and kind, and their footprints."""

    gas: str
    kind: str
    files: str | None
    store: str | None
    footprints: str
    hours: tuple[float, float] | None
    site_hours: tuple[tuple[str, tuple[float, float] | None], ...]
    inlet: str
    minimum: int
    uncertainty: float | None
    average: str
    scale: str | None
    place: Mapping[str, str | float]
    heights: tuple[tuple[str, float], ...]
    minutes: float
    metres: float
    degrees: float
    representation: PerSite
    transport: PerSite
    correlation_hours: float | None
    within: bool


@dataclass(frozen=True, slots=True)
class CandidateSettings:
    """A station that might be built; None: as the in situ observations of its gas."""

    name: str
    footprints: str
    gas: str | None
    uncertainty: float
    hours: tuple[float, float] | None
    representation: PerSite | None
    transport: PerSite | None
    correlation_hours: float | None


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    """Totals of provinces from an inventory, laid over their cells by a proxy."""

    file: str
    encoding: str
    category: str | None
    period: str | None
    vintage: str | None
    mapping: str | None
    proxy: str | None
    proxy_variable: str | None


@dataclass(frozen=True, slots=True)
class SectorSettings:
    """A flux, where it comes from, and what is believed of it."""

    name: str
    gas: str
    flux: str | None
    uniform: float | None
    variable: str
    units: str | None
    factors: str | None
    ledger: LedgerSettings | None
    profiles: Mapping[str, tuple[float, ...]]
    clock: float | str
    prior: float
    sigma: float | str
    fixed: bool
    basis: str
    periods: str | float
    length_km: float | None
    length_days: float | None


@dataclass(frozen=True, slots=True)
class BasisSettings:
    """Regions."""

    kind: str
    regions: int
    file: str | None
    variable: str | None


_PLAIN: Final = {kind: BasisSettings(kind, 0, None, None) for kind in ("cells", "provinces", "domain")}
"""Bases that need no table of their own."""


@dataclass(frozen=True, slots=True)
class BackgroundSettings:
    """Boundary terms of a gas."""

    kind: str
    value: float | str | None
    sigma: float
    every_days: float | None
    length_days: float | None
    per: str
    layers: tuple[float, ...]
    correlation: float
    files: str | None
    units: str | None


@dataclass(frozen=True, slots=True)
class Settings:
    """An inversion, checked.

    Attributes
    ----------
    correlations : tuple of (sector, sector, number)
    document : dict
        What was read, for provenance and members of an ensemble.
    members : tuple of (name, dict)
        What each member of the ensemble changes.
    candidates : tuple of CandidateSettings
        Stations that might be built.
    """

    name: str
    folder: Path
    start: np.datetime64
    end: np.datetime64
    output: Path | None
    paris: Path | None
    solver: str
    observations: tuple[Observations, ...]
    sectors: tuple[SectorSettings, ...]
    bases: Mapping[str, BasisSettings]
    backgrounds: Mapping[str, BackgroundSettings]
    correlations: tuple[tuple[str, str, float], ...]
    shape: str
    nugget: float
    totals: str
    unit: str
    store: Path | None
    sparse_bytes: int
    document: Mapping[str, Any] = field(repr=False)
    members: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    candidates: tuple[CandidateSettings, ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of the document as it was understood (JSON, sorted)."""
        return hashlib.sha256(json.dumps(self.document, sort_keys=True, default=str).encode()).hexdigest()


def read(path: str | Path) -> Settings:
    """Return a configuration; paths in it are relative to its folder.

    Raises
    ------
    ConfigError
        Where there is no such file, or it is no TOML.
    DeployError
        With every fault at once, also those of the members of its ensemble.
    """
    path = Path(path)
    document = load(path)
    return understand(document, path.name, path.parent)


def understand(document: Mapping[str, Any], where: str, folder: Path) -> Settings:
    """Return the settings of a document; as `read`."""
    faults: list[str] = []
    settings = _settings(document, where, folder, faults)
    for name, changed in members(document, where, faults):
        own: list[str] = []
        _settings(changed, f"{where}, ensemble {name!r}", folder, own)
        faults += [fault for fault in own if fault.replace(f", ensemble {name!r}", "") not in faults]
    if faults:
        raise DeployError("; ".join(faults))
    assert settings is not None
    return settings


def member(settings: Settings, name: str) -> Settings:
    """Return the settings of a member of the ensemble."""
    changed = dict(settings.members)[name]
    return understand(changed, name, settings.folder)


def _settings(document: Mapping[str, Any], where: str, folder: Path, faults: list[str]) -> Settings | None:
    top = Table(document, where, faults)
    start, end = top.moment("start"), top.moment("end")
    covariance = top.table("covariance", {})
    lengths = _lengths(covariance)
    periods = _periods(top, "periods", "window")
    output, store, paris = (top.text(key, None) for key in ("output", "store_H", "paris"))
    totals = top.table("totals", {})
    settings = Settings(
        name=top.text("name", Path(where).stem),
        folder=folder,
        start=start if start is not None else np.datetime64("NaT", "ns"),
        end=end if end is not None else np.datetime64("NaT", "ns"),
        output=None if output is None else folder / output,
        paris=None if paris is None else folder / paris,
        solver=top.text("solver", "batch", among=solve.__all__),
        observations=tuple(_observations(table) for table in top.tables("observations")),
        sectors=tuple(_sector(table, periods, lengths) for table in top.tables("sector")),
        bases=_PLAIN | {name: _basis(table) for name, table in _named(top, "basis")},
        backgrounds={gas: _background(table) for gas, table in _named(top, "background")},
        correlations=tuple(_correlation(table) for table in covariance.tables("correlation")),
        shape=covariance.text("shape", "exponential", among=SHAPES),
        nugget=covariance.number("nugget", 0.0, low=0.0) or 0.0,
        totals=totals.text("by", "sector", among=("sector", "province", "basis")),
        unit=totals.text("unit", "kt yr-1", among=[f"{mass} yr-1" for mass in MASS_UNITS]),
        store=None if store is None else folder / store,
        sparse_bytes=round((top.number("sparse_gb", 1.0, low=0.0) or 0.0) * 2**30),
        document=document,
        members=tuple(members(document, where, [])),
        candidates=tuple(_candidate(table) for table in top.tables("candidate")),
    )
    for table in (covariance, totals):
        table.close()
    top.close(("ensemble",))
    if start is None or end is None or not start < end:
        faults.append(f"{where}: start and end are needed, start before end")
    if not faults:
        faults += [f"{where}: {sentence}" for sentence in _disagreements(settings)]
    return settings


def _disagreements(settings: Settings) -> list[str]:
    """Return what is wrong between tables, each right by itself."""
    found = []
    if not settings.observations:
        found.append("there is no [[observations]]")
    if not settings.sectors:
        found.append("there is no [[sector]]")
    names = [sector.name for sector in settings.sectors]
    for sector in settings.sectors:
        if sector.basis not in settings.bases:
            near = _near(sector.basis, settings.bases)
            found.append(f"the sector {sector.name!r} has the basis {sector.basis!r}{near}")
        kind = settings.bases[sector.basis].kind if sector.basis in settings.bases else ""
        if sector.sigma == "ledger" and kind != "provinces":
            found.append(f"the sector {sector.name!r} has the σ of its ledger: give it a basis of provinces")
        if sum(source is not None for source in (sector.flux, sector.uniform, sector.ledger)) != 1:
            found.append(
                f"the sector {sector.name!r} needs one of flux, a file, uniform, mol m-2 s-1, or ledger, a table"
            )
    for first, second, _ in settings.correlations:
        found += [f"a correlation names the sector {n!r}{_near(n, names)}" for n in (first, second) if n not in names]
    planned = [candidate.name for candidate in settings.candidates]
    found += [f"the candidate {name!r} is there twice" for name in sorted({n for n in planned if planned.count(n) > 1})]
    gases = {observations.gas for observations in settings.observations}
    found += [f"{gas} is observed but has no [background.{gas}]" for gas in sorted(gases - set(settings.backgrounds))]
    strangers = sorted(set(settings.backgrounds) - gases)
    found += [f"[background.{gas}] is of a gas that is not observed" for gas in strangers]
    return found


def _near(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {close[0]!r}?" if close else f", but there is only {', '.join(known) or 'none'}"


def _named(top: Table, key: str) -> list[tuple[str, Table]]:
    group = top.table(key, {})
    return [(name, group.table(name)) for name in group.keys()]  # noqa: SIM118  a Table is no mapping


def _observations(t: Table) -> Observations:
    files, store = t.text("files", None), t.text("store", None)
    if (files is None) == (store is None):
        t.fault("files", "is needed, or store, a database's address; one of them")
    error = t.table("error")
    site_hours = t.table("site_hours", {})
    kind = t.text("kind", "in situ", among=KINDS)
    hours = t.span("hours")
    result = Observations(
        gas=t.text("gas"),
        kind=kind,
        files=files,
        store=store,
        footprints=t.text("footprints"),
        hours=hours,
        site_hours=tuple((site, site_hours.span(site)) for site in site_hours.keys()),  # noqa: SIM118
        inlet=t.text("inlet", INLETS),
        minimum=t.count("minimum", 1),
        uncertainty=t.number("uncertainty", None, low=0.0),
        average=t.text("average", "none", among=("none", "hour")),
        scale=t.text("scale", None),
        place=_place(t.table("place", {})),
        heights=t.numbers("heights", low=0.0),
        minutes=t.number("minutes", 0.5 if kind == "aircraft" else 30.0, low=0.0),
        metres=t.number("metres", 50.0 if kind == "aircraft" else 5.0, low=0.0),
        degrees=t.number("degrees", 0.1, low=0.0),
        representation=_per_site(error, "representation"),
        transport=_per_site(error, "transport"),
        correlation_hours=error.number("correlation_hours", None, low=1e-3),
        within=error.flag("within", False),
    )
    for table in (error, site_hours, t):
        table.close()
    return result


def _candidate(t: Table) -> CandidateSettings:
    error = t.table("error", {})
    result = CandidateSettings(
        name=t.text("name"),
        footprints=t.text("footprints"),
        gas=t.text("gas", None),
        uncertainty=t.number("uncertainty", low=0.0),
        hours=t.span("hours"),
        representation=error.number("representation", None, low=0.0),
        transport=error.number("transport", None, low=0.0),
        correlation_hours=error.number("correlation_hours", None, low=1e-3),
    )
    error.close()
    t.close()
    return result


def _place(t: Table) -> dict[str, str | float]:
    """Return what files leave unsaid of a station."""
    named = {key: t.text(key, None) for key in ("station", "inlet")}
    numbers = {key: t.number(key, None) for key in ("inlet_height", "latitude", "longitude", "altitude")}
    t.close()
    return {key: value for key, value in (named | numbers).items() if value is not None}


def _per_site(t: Table, key: str) -> PerSite:
    """Return a number for all sites, or a table of them."""
    if key in t and t.holds_table(key):
        return dict(t.numbers(key, low=0.0))
    return float(t.number(key, 0.0, low=0.0) or 0.0)


def _sector(t: Table, periods: str | float, lengths: tuple[float | None, float | None]) -> SectorSettings:
    profile = t.table("profile", {})
    profiles = {name: values for name in _PROFILES if (values := _profile(profile, name))}
    clock = t.text("clock", "solar") if not t.holds_number("clock") else t.number("clock", 0.0, low=-14.0, high=14.0)
    result = SectorSettings(
        name=t.text("name"),
        gas=t.text("gas"),
        flux=t.text("flux", None),
        uniform=t.number("uniform", None),
        variable=t.text("variable", "total"),
        units=t.text("units", None),
        factors=t.text("factors", None),
        ledger=_ledger(t.table("ledger")) if "ledger" in t else None,
        profiles=profiles,
        clock=clock,
        prior=t.number("prior", 1.0),
        sigma=_sigma(t),
        fixed=t.flag("fixed", False),
        basis=t.text("basis", "domain"),
        periods=_periods(t, "periods", periods),
        length_km=t.number("length_km", lengths[0], low=0.0) or None,
        length_days=t.number("length_days", lengths[1], low=0.0) or None,
    )
    for table in (profile, t):
        table.close()
    return result


def _sigma(t: Table) -> float | str:
    """Return a number, or "ledger": as the ledger of the sector states it, province by province."""
    if "sigma" not in t or t.holds_number("sigma"):
        return float(t.number("sigma", 0.5, low=1e-12) or 0.5)
    value = t.text("sigma", among=("ledger",))
    if value is not None and "ledger" not in t:
        t.fault("sigma", "is 'ledger', but the sector has no ledger")
    return value or 0.5


def _ledger(t: Table) -> LedgerSettings:
    texts = {key: t.text(key, None) for key in ("category", "period", "vintage", "mapping", "proxy", "proxy_variable")}
    result = LedgerSettings(file=t.text("file"), encoding=t.text("encoding", "utf-8-sig"), **texts)
    if (result.proxy is None) != (result.proxy_variable is None):
        t.fault("proxy", "goes with proxy_variable")
    t.close()
    return result


def _profile(t: Table, key: str) -> tuple[float, ...]:
    values = t.floats(key, low=0.0)
    if values and len(values) != _PROFILES[key]:
        t.fault(key, f"has {len(values)} numbers, expected {_PROFILES[key]}")
    return values


def _lengths(t: Table) -> tuple[float | None, float | None]:
    return t.number("length_km", None, low=0.0), t.number("length_days", None, low=0.0)


def _periods(t: Table, key: str, default: str | float) -> str | float:
    """Return "window", "month", or a number of days."""
    if t.holds_number(key):
        return float(t.number(key, 1.0, low=1.0 / 24.0) or 1.0)
    return str(t.text(key, default, among=("window", "month"))) if isinstance(default, str) or key in t else default


def _basis(t: Table) -> BasisSettings:
    result = BasisSettings(
        kind=t.text("kind", among=BASES),
        regions=t.count("regions", 50),
        file=t.text("file", None),
        variable=t.text("variable", None),
    )
    if result.kind == "mask" and (result.file is None or result.variable is None):
        t.fault("file", "is needed, and variable, for a mask")
    t.close()
    return result


def _background(t: Table) -> BackgroundSettings:
    kind = t.text("kind", among=BACKGROUNDS)
    value = t.number("value", None) if t.holds_number("value") else t.text("value", None, among=("data",))
    files = t.text("files", None)
    result = BackgroundSettings(
        kind=kind,
        value=value,
        sigma=t.number("sigma", low=1e-12) if kind != "none" else 0.0,
        every_days=t.number("every_days", None, low=1e-2),
        length_days=t.number("length_days", None, low=1e-2),
        per=t.text("per", "common", among=("common", "site")),
        layers=t.floats("layers", low=0.0),
        correlation=t.number("correlation", 0.5, low=0.0, high=0.999),
        files=files,
        units=t.text("units", None),
    )
    if kind == "baseline" and value is None:
        t.fault("value", "is missing, expected a number in the units of the observations, or 'data'")
    if kind == "field" and files is None:
        t.fault("files", "is missing, expected a pattern of netCDF files of CAMS or CarbonTracker")
    if kind == "curtain" and (value is None) == (files is None):
        t.fault("value", "is needed, or files of a field; one of them")
    t.close()
    return result


def _correlation(t: Table) -> tuple[str, str, float]:
    pair = t.texts("sectors")
    value = t.number("value", low=-1.0, high=1.0)
    if len(pair) != 2:
        t.fault("sectors", f"has {len(pair)} names, expected two")
    t.close()
    return (*pair[:2], *("",) * (2 - len(pair[:2])), value or 0.0)[:3]  # type: ignore[return-value]
