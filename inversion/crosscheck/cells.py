"""Regions divided by period or by sector: their totals, and what a ledger says of each.

Totals as `table.totals` gives them whose rows are *cells*: a region in a period, or a sector of a region. Coordinates
along ``region`` beside the cell's own label: ``code`` and ``period`` (as `inventory.Period` writes it) or ``sector``.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy.linalg
import xarray as xr
from numpy.typing import NDArray

from inversion.crosscheck.smoothing import CrosscheckError, Floats, Smoothed, compare_arrays
from inversion.crosscheck.table import covered_part, ledger_covariance, not_finite, period_of
from inversion.crosscheck.verdict import Rule, caution
from inversion.findings import as_text, carried
from inversion.inventory.entry import Inventory, Ledger
from inversion.regions import MASS_UNITS, mass_unit

NAMES: Final = ("gbt2260", "name_zh", "name_en", "covered")
"""Coordinates of regions that go along with them."""


@dataclass(frozen=True, slots=True)
class Book:
    """What a ledger says of cells, in the units of the inversion.

    Attributes
    ----------
    rate, sigma : array (n,)
        NaN where it has none.
    notation : tuple of str (n)
    about : dict
        gas, category, vintage and source, for the table.
    """

    rate: Floats
    sigma: Floats
    notation: tuple[str, ...]
    about: dict[str, str]


@dataclass(frozen=True, slots=True)
class Sides:
    """Cells of an inversion beside those of a ledger.

    Attributes
    ----------
    seen : xr.Dataset
    book : Book
    smooth : Smoothed
        Of the part of each cell that lies in the domain.
    inventory_covariance : array (n, n)
    inside : array (n,)
        Part of each cell that lies in the domain; NaN where that is too little to be compared.
    attrs : dict
        What a table says about itself.
    """

    seen: xr.Dataset
    book: Book
    smooth: Smoothed
    inventory_covariance: Floats
    inside: Floats
    attrs: dict[str, Any]


def codes(seen: xr.Dataset) -> list[str]:
    """Return the regions of cells, each once, in their order."""
    return list(dict.fromkeys(seen["code"].values.astype(str).tolist()))


def names_of(seen: xr.Dataset, order: Sequence[str]) -> dict[str, Any]:
    """Return codes, names and ``covered`` of regions as coordinates."""
    first = {code: i for i, code in reversed(list(enumerate(seen["code"].values.astype(str))))}
    rows = [first[code] for code in order]
    found = {name: ("region", seen[name].values[rows]) for name in NAMES if name in seen.coords}
    return {"region": list(order), "region_cov": list(order), **found}


def stacked(seen: Sequence[xr.Dataset]) -> xr.Dataset:
    """Return the totals of several inversions, one for each period, as cells.

    Parameters
    ----------
    seen : sequence of xr.Dataset (region)
        From `totals` or `report.read_totals`, each with the ``window`` of its period, of the same regions and units.

    Returns
    -------
    xr.Dataset (region)
        Cells, the periods of a region beside each other. What one inversion knows nothing of another is not stated by
        any of them: covariances between periods are 0.

    Raises
    ------
    CrosscheckError
    """
    first = seen[0]
    regions = first["region"].values.astype(str)
    faults = [
        f"Those of {one.attrs['window']} are of other regions, units or gas than those of {first.attrs['window']}."
        for one in seen
        if not np.array_equal(one["region"].values.astype(str), regions)
        or any(one.attrs[name] != first.attrs[name] for name in ("units", "gas"))
    ]
    spans = [period_of(str(one.attrs["window"])) for one in seen]
    faults += [
        f"Two are of one time, {first} and {second}: their errors are not independent; take one of them."
        for first, second in itertools.pairwise(sorted(spans))
        if second.start < first.end
    ]
    if faults:
        raise CrosscheckError("The totals of several periods", faults)
    periods = [str(span) for span in spans]
    order = np.arange(len(seen) * regions.size).reshape(len(seen), -1).T.ravel()
    unit = first.attrs["units"]
    labels = [(code, period) for code in regions for period in periods]
    named = {name: ("region", np.repeat(first[name].values, len(seen))) for name in NAMES if name in first.coords}
    data: dict[str, Any] = {
        name: ("region", np.concatenate([one[name].values for one in seen])[order], {"units": unit})
        for name in ("prior", "inversion")
    }
    for name in ("prior_covariance", "inversion_covariance"):
        whole = scipy.linalg.block_diag(*(one[name].values for one in seen))[np.ix_(order, order)]
        data[name] = (("region", "region_cov"), whole, {"units": f"({unit})2"})
    once = dict.fromkeys(finding for one in seen for finding in carried(one.attrs))
    attrs = {**first.attrs, "findings": as_text(once), "window": ""}
    return xr.Dataset(data, cell_coords(labels, "period", named), attrs)


def cell_coords(labels: Sequence[tuple[str, str]], kind: str, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the coordinates of cells: (code, period or sector)."""
    joined = [" ".join(label) for label in labels]
    return {
        "region": joined,
        "region_cov": joined,
        "code": ("region", [code for code, _ in labels]),
        kind: ("region", [part for _, part in labels]),
        **(more or {}),
    }


def book_of(seen: xr.Dataset, ledgers: Mapping[str, Ledger], kind: str) -> Book:
    """Return what ledgers say of cells, one for each period or sector; NaN for one without.

    Parameters
    ----------
    seen : xr.Dataset
        Cells.
    ledgers : mapping of period or sector to Ledger
        Each over all regions.
    kind : str
        ``period`` or ``sector``.

    Raises
    ------
    CrosscheckError
        Where there is none for any cell, or of another gas.
    """
    wanted = seen[kind].values.astype(str)
    have = [name for name in dict.fromkeys(wanted.tolist()) if name in ledgers]
    if not have:
        listed = ", ".join(dict.fromkeys(wanted.tolist()))
        raise CrosscheckError("The ledger", [f"It has nothing of any {kind} of the inversion ({listed})."])
    gas = {ledgers[name].gas for name in have} | ({seen.attrs["gas"]} if seen.attrs["gas"] else set())
    if len(gas) > 1:
        raise CrosscheckError("The ledger", [f"Inversion and ledger are of different gases: {', '.join(sorted(gas))}."])
    factor = MASS_UNITS["kt"] / mass_unit(seen.attrs["units"])
    rate, sigma, notation = np.full(wanted.size, np.nan), np.full(wanted.size, np.nan), [""] * wanted.size
    for i, (code, name) in enumerate(zip(seen["code"].values.astype(str), wanted, strict=True)):
        book = ledgers.get(name)
        if book is not None and code in book.codes:
            k = book.codes.index(code)
            rate[i], sigma[i], notation[i] = book.rate[k] * factor, book.sigma[k] * factor, book.notation[k]
    about = {
        "gas": next(iter(gas)),
        "category": _listed(ledgers[name].category for name in have),
        "ledger_vintage": _listed(ledgers[name].vintage for name in have),
        "ledger_source": _listed(ledgers[name].source for name in have),
    }
    return Book(rate, sigma, tuple(notation), about)


def _listed(values: Any) -> str:
    return ", ".join(dict.fromkeys(value for value in values if value))


def by_period(
    inventory: Inventory, seen: xr.Dataset, *, gas: str | None, category: str | None, vintage: str | None
) -> dict[str, Ledger]:
    """Return the ledger of every period of cells that the inventory has."""
    about: dict[str, Any] = {"gas": gas or seen.attrs["gas"] or None, "category": category, "vintage": vintage}
    found = {}
    for name in dict.fromkeys(seen["period"].values.astype(str).tolist()):
        if inventory.select(period=name, **about).entries:
            found[name] = inventory.ledger(codes(seen), period=name, **about)
    return found


def lay_beside(seen: xr.Dataset, book: Book, rule: Rule, kind: str, *, correlation: Floats | None = None) -> Sides:
    """Lay a ledger's cells beside those of an inversion, as the inversion would have seen them.

    D has the correlations stated in `rule`, those of regions times those of periods or sectors (each a valid
    correlation, and so is their product: Schur); or those of the prior, where the prior is this ledger.

    Parameters
    ----------
    seen : xr.Dataset
    book : Book
    rule : Rule
    kind : {"period", "sector"}
    correlation : array (n, n), optional
        Of the ledger's errors, where it is known already.

    Raises
    ------
    CrosscheckError
        Where the inversion's totals are not finite.
    """
    faults = not_finite(seen)
    if faults:
        raise CrosscheckError("The inversion", faults)
    covered = covered_part(seen)
    inside = np.where(covered >= rule.min_covered, covered, np.nan)
    within = rule.period_correlation if kind == "period" else rule.sector_correlation
    own = _alike(seen["code"].values, rule.inventory_correlation) * _alike(seen[kind].values, within)
    if correlation is None:
        D, findings = ledger_covariance(seen, book.rate * inside, book.sigma * inside, own, rule)
    else:
        D, findings = np.outer(book.sigma * inside, book.sigma * inside) * correlation, []
    smooth = compare_arrays(
        seen["inversion"].values,
        seen["prior"].values,
        covariance=seen["inversion_covariance"].values,
        prior_covariance=seen["prior_covariance"].values,
        inventory=book.rate * inside,
        inventory_covariance=D,
    )
    attrs = {
        **seen.attrs,
        **book.about,
        "rule": str(rule),
        "level": rule.level,
        "control": rule.control,
        "min_share": rule.min_share,
        "inventory_correlation": rule.inventory_correlation,
        f"{kind}_correlation": within,
        "caution": caution(seen),
        "findings": as_text((*carried(seen.attrs), *findings)),
    }
    return Sides(seen, book, smooth, D, inside, attrs)


def _alike(labels: NDArray[Any], correlation: float) -> Floats:
    """Return 1 between cells of one label, and a correlation between those of two."""
    same = labels.astype(str)[:, None] == labels.astype(str)
    return np.where(same, 1.0, correlation)
