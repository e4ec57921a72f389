"""What a report is made of: tables with their figures, trends, sectors, who wrote it and from what."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import xarray as xr

from inversion.maps import Station
from inversion.report.imprint import Imprint

_DIGITS: Final = 9
"""Significant digits that count in a digest: machines differ in the last ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One comparison, and what is shown with it.

    Attributes
    ----------
    comparison : xr.Dataset
        From `crosscheck.compare`, with the range of `crosscheck.with_range` where there are configurations.
    name : str
        Heading; gas and period by default.
    series : xr.Dataset, optional
        From `station_series`.
    stations : sequence of Station
    fields : xr.Dataset, optional
        For the netCDF file, and maps of the mean flux and of what the observations changed.
    configurations : xr.Dataset, optional
        What gave the range.
    attribution : xr.Dataset (region, sector), optional
        From `crosscheck.attribution`.
    """

    comparison: xr.Dataset
    name: str = ""
    series: xr.Dataset | None = None
    stations: Sequence[Station] = ()
    fields: xr.Dataset | None = None
    configurations: xr.Dataset | None = None
    attribution: xr.Dataset | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """Trends of one gas and ledger over several periods.

    Attributes
    ----------
    trends : xr.Dataset
        From `crosscheck.trends`.
    name : str
    """

    trends: xr.Dataset
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Annex:
    """A report.

    Attributes
    ----------
    title : str
    tables : tuple of Table
    titles : dict
        Title by language, where it is not `title`.
    trends : tuple of Trend
    notes : tuple of str
        Sentences of its authors.
    imprint : Imprint
    provenance : tuple of (kind, name, text)
        Inputs with their digests; kinds are those of the vocabulary's ``provenance``.
    """

    title: str
    tables: tuple[Table, ...]
    titles: Mapping[str, str] = field(default_factory=dict)
    trends: tuple[Trend, ...] = ()
    notes: tuple[str, ...] = ()
    imprint: Imprint = field(default_factory=Imprint)
    provenance: tuple[tuple[str, str, str], ...] = ()

    @property
    def digest(self) -> str:
        """SHA-256 of what the report states: title, notes, and all numbers and words of its tables."""
        parts = [_plain(t.comparison) | {"name": t.name} for t in self.tables]
        parts += [_plain(t.attribution) for t in self.tables if t.attribution is not None]
        parts += [_plain(t.trends) for t in self.trends]
        document = [self.title, dict(self.titles), list(self.notes), parts]
        return hashlib.sha256(json.dumps(document, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _plain(ds: xr.Dataset) -> dict[str, Any]:
    """Return a dataset as texts, numbers with the digits that count."""
    variables = {str(name): [list(map(str, v.dims)), _texts(v.values)] for name, v in ds.variables.items()}
    return {"variables": variables, "attributes": {str(n): _text(v) for n, v in ds.attrs.items()}}


def _texts(values: Any) -> list[str]:
    return [_text(value) for value in np.asarray(values).ravel().tolist()]


def _text(value: Any) -> str:
    return f"{value + 0.0:.{_DIGITS - 1}e}" if isinstance(value, float) else str(value)
