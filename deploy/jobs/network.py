"""The configuration of each series of a network: what a file says, the place, ports and cylinders of the catalogue."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from hashlib import blake2b
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from deploy.errors import DeployError
from ingest import read
from ingest.standards import Correction, Cylinder, Used
from qc import pipeline

Span = tuple[np.datetime64, np.datetime64]
"""Start, end; datetime64[ns]."""
_PATTERNS: Final = ("station", "instrument", "model")


def network_configuration(path: Path | None = None) -> list[dict[str, Any]]:
    """Return the ``[[series]]`` of a network's QC configuration; skyledger's own where `path` is None.

    Raises
    ------
    DeployError
        Where the file is no TOML or has anything but ``[[series]]``.
    """
    where = path or resources.files("deploy.jobs").joinpath("qc.toml")
    try:
        document = tomllib.loads(where.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"QC configuration {where} cannot be read: {error}"
        raise DeployError(msg) from None
    series = document.get("series")
    if set(document) != {"series"} or not isinstance(series, list):
        msg = f"QC configuration {where} has {', '.join(document) or 'nothing'} at the top, expected [[series]] only"
        raise DeployError(msg)
    return series


def configuration_for(
    station: read.Station,
    instrument: read.Instrument,
    inlet: read.Inlet,
    *,
    span: Span,
    series: Sequence[Mapping[str, Any]],
    cylinders: Sequence[Cylinder] = (),
    corrections: Sequence[Correction] = (),
) -> pipeline.Config | None:
    """Return the configuration of one series: the first ``[[series]]`` that fits, with what the catalogue says.

    Place and ports are those of the catalogue, and so are the assigned values of cylinders that the configuration
    names without saying what they hold. None where no ``[[series]]`` fits the instrument.

    Raises
    ------
    ConfigError
        With all faults of the configuration.
    DeployError
        A cylinder is not in the catalogue, has no uncertainty there, or is on another scale than the series.
    """
    names = {"station": station.name, "instrument": instrument.name, "model": instrument.model or ""}
    for number, entry in enumerate(series, start=1):
        if all(fnmatchcase(names[key].casefold(), str(entry.get(key, "*")).casefold()) for key in _PATTERNS):
            settings = {key: value for key, value in entry.items() if key not in _PATTERNS}
            place = {
                **names,
                "inlet": inlet.name,
                "inlet_height": inlet.height,
                "latitude": station.latitude,
                "longitude": station.longitude,
                "altitude": station.altitude,
                "ports": [p.port for p in ports_of(instrument, span) if p.inlet == inlet.name and p.port is not None],
            }
            where = f"QC configuration, series {number}"
            if "calibration" in settings:
                settings["calibration"] = _hung(settings, cylinders, corrections, where=where)
            return pipeline.Config.from_dict(settings | place, where=where)
    return None


def ports_of(instrument: read.Instrument, span: Span) -> list[read.Port]:
    """Return the ports that were connected during (part of) a span."""
    start, end = (read.instant(moment) for moment in span)
    return [
        port
        for port in instrument.ports
        if (port.start is None or port.start < end) and (port.end is None or port.end > start)
    ]


def _hung(
    settings: Mapping[str, Any], known: Sequence[Cylinder], corrections: Sequence[Correction], *, where: str
) -> dict[str, Any]:
    """Return a calibration's table with corrections put in, and assigned values from the catalogue."""
    table = dict(settings["calibration"])
    own = [dict(entry) for entry in table.get("cylinder", [])]
    said = {str(entry.get("name")) for entry in own}
    scales = {gas: str(entry.get("scale", "")) for gas, entry in settings.get("species", {}).items()}
    added: dict[tuple[str, str], dict[str, Any]] = {}
    for key in ("standard", "target"):
        entries = [part for entry in table.get(key, []) for part in _corrected(entry, corrections)]
        parts: list[dict[str, Any]] = []
        for entry in entries:
            if str(entry.get("cylinder")) in said:
                parts.append(entry)
                continue
            for part, assigned in _assigned(entry, known, scales, where=f"{where}.calibration.{key}"):
                parts.append(part)
                added |= {(row["name"], row["species"]): row for row in assigned}
        if key in table:
            table[key] = parts
    table["cylinder"] = own + list(added.values())
    return table


def _corrected(entry: Mapping[str, Any], corrections: Sequence[Correction]) -> Iterator[dict[str, Any]]:
    """Yield what hung at a port and when, parted where corrections say that it was another cylinder."""
    parts = [dict(entry)]
    for one in corrections:
        if one.said not in (entry.get("cylinder"), entry.get("port")):
            continue
        kept = []
        for part in parts:
            start, end = _bound(part.get("start"), _FIRST), _bound(part.get("end"), _LAST)
            pieces: tuple[tuple[datetime, datetime, str], ...] = (
                (start, min(end, one.start), part["cylinder"]),
                (max(start, one.start), min(end, one.end), one.was),
            )
            pieces = (*pieces, (max(start, one.end), end, part["cylinder"]))
            kept += [{**part, "cylinder": name, **_window(first, last)} for first, last, name in pieces if first < last]
        parts = kept
    yield from parts


def _assigned(
    entry: Mapping[str, Any], known: Sequence[Cylinder], scales: Mapping[str, str], *, where: str
) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Yield a cylinder's stay at a port, parted where its assigned values change, with what it held meanwhile."""
    name = str(entry.get("cylinder"))
    rows = [row for row in known if row.name == name and row.species in scales]
    if not rows:
        msg = f"{where}: cylinder {name!r} is not in the catalogue; `skyledger catalog apply` takes [[cylinder]] tables"
        raise DeployError(msg)
    for row in rows:
        if row.scale != scales[row.species]:
            msg = f"{where}: cylinder {name!r} is on {row.scale}, the series' {row.species} on {scales[row.species]}"
            raise DeployError(msg)
        if not row.uncertainty:
            msg = (
                f"{where}: cylinder {name!r} has no uncertainty of {row.species} in the catalogue, expected more than 0"
            )
            raise DeployError(msg)
    edges = sorted({edge for row in rows for edge in (row.start or _FIRST, row.end or _LAST)})
    start, end = _bound(entry.get("start"), _FIRST), _bound(entry.get("end"), _LAST)
    for first, last in pairwise(edges):
        held = [row for row in rows if (row.start or _FIRST) <= first and (row.end or _LAST) >= last]
        since, until = max(start, first), min(end, last)
        if not held or since >= until:
            continue
        called = name if first == _FIRST else f"{name} ({first:%Y-%m-%d})"
        values = [
            {"name": called, "species": row.species, "value": row.value, "uncertainty": row.uncertainty} for row in held
        ]
        yield {**entry, "cylinder": called, **_window(since, until)}, values


_FIRST: Final = datetime(1900, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(2200, 1, 1, tzinfo=UTC)


def _bound(time: Any, otherwise: datetime) -> datetime:
    return otherwise if time is None else read.instant(time if isinstance(time, str) else time.isoformat())


def _window(start: datetime, end: datetime) -> dict[str, str | None]:
    return {
        "start": None if start == _FIRST else start.isoformat(),
        "end": None if end == _LAST else end.isoformat(),
    }


def described(config: pipeline.Config) -> Used:
    """Return what a series is evaluated with, in a form that is kept: digest of the settings, and its cylinders."""
    content = config.settings
    digest = blake2b(json.dumps(content, sort_keys=True, default=str).encode(), digest_size=16).hexdigest()
    return Used(digest, config.hung)


def changed_cylinders(before: Sequence[Any], now: Sequence[Any]) -> list[tuple[str | None, str | None]]:
    """Return (start, end) as texts of the stays of cylinders that are in one list and not in the other."""
    texts = [{json.dumps(entry, sort_keys=True): entry for entry in entries} for entries in (before, now)]
    return [
        (texts[k][key]["start"], texts[k][key]["end"]) for k in (0, 1) for key in texts[k].keys() - texts[1 - k].keys()
    ]
