"""The configuration of a cross-check: TOML into frozen dataclasses, all faults at once."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from deploy.errors import DeployError
from inversion import report
from inversion.crosscheck import CrosscheckError, Rule
from inversion.inventory import FORMATS
from qc.document import Table, load

LANGUAGES: Final = {"en": ("en",), "zh": ("zh",), "both": ("en", "zh")}
_CONTROLS: Final = ("region", "family")
_READ: Final = ("encoding", "regions", "region", "period", "unit", "vintage")


@dataclass(frozen=True, slots=True)
class InversionSettings:
    """A result, and other configurations of the same inversion.

    Attributes
    ----------
    configurations : tuple of (name, file)
        Results of the same regions.
    ensemble : str, optional
        What ``skyledger invert --ensemble`` wrote.
    """

    name: str
    file: str
    configurations: tuple[tuple[str, str], ...]
    ensemble: str | None


@dataclass(frozen=True, slots=True)
class LedgerSettings:
    """A ledger, what of it is compared, and with which inversions.

    Attributes
    ----------
    reading : dict
        Options of its reader.
    inversions : tuple of str
        Names; empty for all of the same gas.
    sectors : tuple of (sector, categories)
        Which categories a sector of the inversion stands for.
    """

    name: str
    file: str
    format: str
    reading: Mapping[str, Any]
    gas: str | None
    category: str | None
    period: str | None
    vintage: str | None
    sigma_percent: float | None
    inversions: tuple[str, ...]
    trends: bool
    sectors: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class StateSettings:
    """How far the report has come, by whose word."""

    state: str
    who: str
    when: str | None
    remarks: str


@dataclass(frozen=True, slots=True)
class Settings:
    """A cross-check, checked.

    Attributes
    ----------
    shown : tuple of str
        Regions that the report shows; empty for all.
    document : dict
        What was read, for provenance.
    """

    name: str
    folder: Path
    output: Path
    title: str
    titles: Mapping[str, str]
    languages: tuple[str, ...]
    authors: tuple[str, ...]
    organisation: str
    review_number: str
    notes: tuple[str, ...]
    shown: tuple[str, ...]
    rule: Rule
    state: StateSettings
    inversions: tuple[InversionSettings, ...]
    ledgers: tuple[LedgerSettings, ...]
    document: Mapping[str, Any] = field(repr=False)

    @property
    def digest(self) -> str:
        """SHA-256 of the document but for its state (JSON, sorted)."""
        document = {key: value for key, value in self.document.items() if key != "state"}
        return hashlib.sha256(json.dumps(document, sort_keys=True, default=str).encode()).hexdigest()


def read(path: str | Path) -> Settings:
    """Return a configuration; paths in it are relative to its folder.

    Raises
    ------
    ConfigError
        Where there is no such file, or it is no TOML.
    DeployError
        With every fault at once.
    """
    path = Path(path)
    document = load(path)
    faults: list[str] = []
    settings = _settings(document, path, faults)
    if faults or settings is None:
        raise DeployError("; ".join(faults))
    return settings


def _settings(document: Mapping[str, Any], path: Path, faults: list[str]) -> Settings | None:
    top = Table(document, path.name, faults)
    title, chinese = top.text("title"), top.text("title_zh", None)
    rule = _rule(top.table("rule", {}))
    settings = Settings(
        name=path.name,
        folder=path.parent,
        output=path.parent / (top.text("output") or "."),
        title=title or "",
        titles={"zh": chinese} if chinese else {},
        languages=LANGUAGES[top.text("language", "en", among=tuple(LANGUAGES))],
        authors=top.texts("authors"),
        organisation=top.text("organisation", ""),
        review_number=top.text("map_review_number", ""),
        notes=top.texts("notes"),
        shown=top.texts("regions"),
        rule=rule or Rule(),
        state=_state(top.table("state", {})),
        inversions=tuple(_inversion(table) for table in top.tables("inversion")),
        ledgers=tuple(_ledger(table) for table in top.tables("ledger")),
        document=document,
    )
    top.close()
    if not faults:
        faults += [f"{path.name}: {sentence}" for sentence in _disagreements(settings)]
    return None if faults else settings


def _disagreements(settings: Settings) -> list[str]:
    """Return what is wrong between tables, each right by itself."""
    found = []
    names = [one.name for one in settings.inversions]
    for kind, have in (("inversion", names), ("ledger", [one.name for one in settings.ledgers])):
        if not have:
            found.append(f"there is no [[{kind}]]")
        found += [f"there are two [[{kind}]] called {n!r}" for n in sorted({n for n in have if have.count(n) > 1})]
    for ledger in settings.ledgers:
        found += [
            f"the ledger {ledger.name!r} names the inversion {name!r}{_near(name, names)}"
            for name in ledger.inversions
            if name not in names
        ]
    return found


def _near(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f", did you mean {close[0]!r}?" if close else f", but there is only {', '.join(known) or 'none'}"


def _rule(t: Table) -> Rule | None:
    standard = Rule()
    shared = t.flag("inventory_is_prior", False) if "inventory_is_prior" in t else None
    numbers = ("level", "min_share", "min_covered", "inventory_correlation", "period_correlation", "sector_correlation")
    values = {name: t.number(name, getattr(standard, name)) for name in numbers}
    control = t.text("control", standard.control, among=_CONTROLS)
    t.close()
    try:
        return Rule(**values, control=control, inventory_is_prior=shared)
    except CrosscheckError as error:
        t.faults.append(f"{t.where}: {' '.join(error.faults)}")
        return None


def _state(t: Table) -> StateSettings:
    state = t.text("state", "draft", among=report.STATES)
    when = t.moment("when")
    day = None if when is None else str(when.astype("datetime64[D]"))
    result = StateSettings(state, t.text("by", ""), day, t.text("remarks", ""))
    if state in ("submitted", "approved") and not result.who:
        t.fault("by", f"is missing: a report is {state} by somebody")
    t.close()
    return result


def _inversion(t: Table) -> InversionSettings:
    others = t.table("configurations", {})
    result = InversionSettings(
        name=t.text("name") or "",
        file=t.text("file") or "",
        configurations=tuple((name, others.text(name) or "") for name in others.keys()),  # noqa: SIM118  no mapping
        ensemble=t.text("ensemble", None),
    )
    if result.configurations and result.ensemble:
        t.fault("ensemble", "stands beside configurations: give one of them")
    for table in (others, t):
        table.close()
    return result


def _ledger(t: Table) -> LedgerSettings:
    options, sectors = t.table("read", {}), t.table("sectors", {})
    texts = {key: t.text(key, None) for key in ("gas", "category", "period", "vintage")}
    result = LedgerSettings(
        name=t.text("name") or "",
        file=t.text("file") or "",
        format=t.text("format", "auto", among=("auto", *FORMATS)),
        reading=_reading(options),
        sigma_percent=t.number("sigma_percent", None, low=1e-9),
        inversions=t.texts("inversions"),
        trends=t.flag("trends", False),
        sectors=tuple((name, _categories(sectors, name)) for name in sectors.keys()),  # noqa: SIM118  no mapping
        **texts,
    )
    options.close((*_READ, "mapping"))
    for table in (sectors, t):
        table.close()
    return result


def _reading(t: Table) -> dict[str, Any]:
    found: dict[str, Any] = {key: t.text(key) for key in _READ if key in t}
    if "mapping" in t:
        found["mapping"] = t.text("mapping")
    return found


def _categories(t: Table, name: str) -> tuple[str, ...]:
    """Return one category, or several that are summed."""
    return t.texts(name) if t.holds_list(name) else (t.text(name) or "",)
