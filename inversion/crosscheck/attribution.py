r"""Which sectors a region's difference belongs to, as far as the inversion can tell them apart.

An inversion with sectors in its state gives totals of (region, sector) with their whole covariance, but air mixes what
sectors emit: where their footprints are alike it knows their sum and not the parts, and shares the sum out as the prior
errors say (the averaging kernel of one sector is large in the column of another; their posterior errors are
anticorrelated, Rodgers 2000, sections 2.4.1 and 3.2). Such sectors are put together before anything is said of them.

**Rule.** Within a region, starting from single sectors, with the share seen of a group g by itself

    Γ_g = 1 - (1ᵀ Ŝ 1) / (1ᵀ M 1)  over its sectors

two groups a and b are put together

1. where |correlation| of their posterior errors reaches `Grouping.correlation` (the largest first), or
2. where one of them is seen less than `Rule.min_share`, and their sum is seen better, by at least `Grouping.gain`, than
   the better seen of the two (the largest gain first),

until no pair is left. Sectors that are not seen and gain nothing stay by themselves, not resolved: putting them to
another would only blur that one.

**Differences of groups** are those of `smoothing`, with all groups of all regions as cells: what leaks in from other
sectors and regions counts in Cov d. A group is resolved when the diagonal of Γ over these cells reaches
`Rule.min_share`. Single sectors of a group have a difference too, for it is what the inversion says; ``resolved`` is
false there, and nothing should be read into them.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr

from inversion.crosscheck import cells
from inversion.crosscheck.cells import Book, Sides, lay_beside, names_of
from inversion.crosscheck.smoothing import UNSEEN, CrosscheckError, Floats, correlation_of, root
from inversion.crosscheck.verdict import Rule, decide, remarks
from inversion.findings import carried, refusal
from inversion.inventory.entry import Inventory, Ledger

Groups = list[list[int]]
_NUMBERS: Final = ("group_share", "group_z", "group_p_adjusted")
"""Columns of groups without a unit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grouping:
    """When sectors count as not told apart.

    Attributes
    ----------
    correlation : float
        Of posterior errors, in absolute value.
    gain : float
        Of the share seen, by taking two together.
    """

    correlation: float = 0.7
    gain: float = 0.05

    def __post_init__(self) -> None:
        if not (0 < self.correlation <= 1 and 0 <= self.gain < 1):
            said = f"correlation is {self.correlation}, gain {self.gain}: expected above 0 to 1, and 0 to below 1."
            raise CrosscheckError("The rule of groups", [said])

    def __str__(self) -> str:
        return (
            f"Sectors of a region are put together where the correlation of their errors reaches {self.correlation:g}, "
            f"or where one is not seen and their sum is seen better than either by {100 * self.gain:.3g} %."
        )


def ledgers_by_sector(
    inventory: Inventory,
    codes: Sequence[str],
    categories: Mapping[str, str | Sequence[str]],
    *,
    gas: str | None = None,
    period: str | None = None,
    vintage: str | None = None,
) -> dict[str, Ledger]:
    """Return the ledger of every sector of an inversion.

    Parameters
    ----------
    inventory : Inventory
    codes : sequence of str
        Regions.
    categories : mapping of sector to category, or to several
        Several are summed, their errors independent; a notation key in one of them leaves the region without a value.
    gas, period, vintage : str, optional
        Where the inventory holds several.

    Raises
    ------
    inversion.inventory.InventoryError
        Where the inventory has nothing of a category.
    """
    about = {"gas": gas, "period": period, "vintage": vintage}
    found = {}
    for sector, wanted in categories.items():
        listed = [wanted] if isinstance(wanted, str) else list(wanted)
        parts = [inventory.ledger(list(codes), category=one, **about) for one in listed]
        found[sector] = parts[0] if len(parts) == 1 else _summed(parts)
    return found


def _summed(parts: Sequence[Ledger]) -> Ledger:
    first = parts[0]
    notation = tuple(
        ",".join(dict.fromkeys(filter(None, keys))) for keys in zip(*(p.notation for p in parts), strict=True)
    )
    return Ledger(
        first.codes,
        np.sum([p.rate for p in parts], axis=0),
        root(np.sum([p.sigma**2 for p in parts], axis=0)),
        notation,
        first.gas,
        ", ".join(p.category for p in parts),
        first.vintage,
        first.source,
        first.period,
    )


def attribution(
    seen: xr.Dataset,
    ledgers: Mapping[str, Ledger],
    *,
    rule: Rule | None = None,
    grouping: Grouping | None = None,
) -> xr.Dataset:
    """Attribute the differences of regions to sectors, as far as these can be told apart.

    Parameters
    ----------
    seen : xr.Dataset (region)
        Totals of regions by sector with their whole covariance: `totals(posterior, W)` with W from
        `assemble.by_sector`, or `read_sectors` of a file that `skyledger invert` wrote.
    ledgers : mapping of sector to Ledger
        From `ledgers_by_sector`.
    rule : Rule, optional
        Level, smallest share, `sector_correlation` and `inventory_correlation` of the ledger's errors. With the control
        "family" over all groups of all regions.
    grouping : Grouping, optional

    Returns
    -------
    xr.Dataset
        On (``region``, ``sector``), in the inversion's units: ``inversion``, ``inventory``, ``prior``, ``difference``
        with ``_sigma``; ``share`` (seen), ``resolved`` (bool: told apart from all others, and seen), ``group`` (its
        sectors joined by " + "), and of the group: ``group_difference`` with ``_sigma``, ``group_share``,
        ``group_joint_sigma``, ``group_z``, ``group_p_adjusted``, ``group_verdict``, ``group_remark``.
        ``error_correlation``, ``prior_correlation`` (region, sector, sector_cov): of the inversion's errors.
        On ``region``: ``region_difference`` with ``_sigma``. Attributes as of `compare`, and ``grouping``: the rule of
        groups in words.

    Raises
    ------
    CrosscheckError
    """
    chosen, how = rule or Rule(), grouping or Grouping()
    if "code" not in seen.coords or "sector" not in seen.coords:
        raise CrosscheckError("The totals", ["They have no code and sector: take those of regions by sector."])
    order, names = cells.codes(seen), list(dict.fromkeys(seen["sector"].values.astype(str).tolist()))
    seen = _in_order(seen, order, names)
    single = lay_beside(seen, cells.book_of(seen, ledgers, "sector"), chosen, "sector")
    groups = [_groups(single, r, len(names), chosen, how) for r in range(len(order))]
    return _table(single, order, names, groups, chosen).assign_attrs(grouping=str(how))


def _in_order(seen: xr.Dataset, order: Sequence[str], names: Sequence[str]) -> xr.Dataset:
    """Return the cells region by region, the sectors of each in one order."""
    pairs = zip(seen["code"].values.astype(str), seen["sector"].values.astype(str), strict=True)
    place = {pair: i for i, pair in enumerate(pairs)}
    wanted = list(itertools.product(order, names))
    if seen.sizes["region"] != len(wanted) or set(place) != set(wanted):
        raise CrosscheckError("The totals", ["Not every region has every sector once: leave out those that have not."])
    rows = [place[pair] for pair in wanted]
    return seen.isel(region=rows, region_cov=rows)


def told_apart(
    covariance: Floats, prior_covariance: Floats, *, min_share: float = 0.5, grouping: Grouping | None = None
) -> Groups:
    """Return the groups of sectors of one region that an inversion tells apart, by the rule above.

    Parameters
    ----------
    covariance, prior_covariance : array (s, s)
        Ŝ and M of its sectors.
    min_share : float
    grouping : Grouping, optional

    Returns
    -------
    list of list of int
        Every sector in one group.

    Examples
    --------
    Two sectors of which only the sum is seen, and a third that is seen by itself:

    >>> S = np.array([[0.55, -0.45, 0.0], [-0.45, 0.55, 0.0], [0.0, 0.0, 0.1]])
    >>> told_apart(S, np.eye(3))
    [[0, 1], [2]]
    """
    how = grouping or Grouping()
    groups: Groups = [[i] for i in range(len(prior_covariance))]
    while len(groups) > 1:
        P = np.zeros((len(groups), len(prior_covariance)))
        for g, members in enumerate(groups):
            P[g, members] = 1.0
        pair = _pair(P @ covariance @ P.T, P @ prior_covariance @ P.T, min_share, how)
        if pair is None:
            break
        a, b = pair
        groups[a] = sorted(groups[a] + groups[b])
        del groups[b]
    return groups


def _pair(S: Floats, M: Floats, min_share: float, how: Grouping) -> tuple[int, int] | None:
    """Return the two groups to put together next, if any."""
    together = np.triu(np.abs(np.nan_to_num(correlation_of(S))), 1)
    if together.max() >= how.correlation:
        first, second = np.unravel_index(int(together.argmax()), together.shape)
        return int(first), int(second)
    seen = _seen(np.diag(S), np.diag(M))
    best, found = how.gain, None
    for a, b in itertools.combinations(range(len(S)), 2):
        part = np.ix_([a, b], [a, b])
        gain = float(_seen(S[part].sum(), M[part].sum())) - max(seen[a], seen[b])
        if min(seen[a], seen[b]) < min_share and gain >= best:
            best, found = gain, (a, b)
    return found


def _seen(after: Any, before: Any) -> Floats:
    before, after = np.asarray(before, dtype=np.float64), np.asarray(after, dtype=np.float64)
    return 1.0 - np.divide(after, before, out=np.ones_like(before), where=before > 0)


def _groups(single: Sides, r: int, sectors: int, rule: Rule, how: Grouping) -> Groups:
    """Return the groups of a region; sectors that cannot be compared stay by themselves."""
    first = r * sectors
    part = np.ix_(range(first, first + sectors), range(first, first + sectors))
    usable = np.flatnonzero(np.isfinite(single.smooth.difference[first : first + sectors]))
    inside = np.ix_(usable, usable)
    S, M = (single.seen[name].values[part][inside] for name in ("inversion_covariance", "prior_covariance"))
    made = told_apart(S, M, min_share=rule.min_share, grouping=how) if usable.size else []
    rest = [[i] for i in range(sectors) if i not in set(usable.tolist())]
    return [[int(usable[i]) for i in members] for members in made] + rest


def _table(
    single: Sides, order: Sequence[str], names: Sequence[str], groups: Sequence[Groups], rule: Rule
) -> xr.Dataset:
    shape, both = (len(order), len(names)), ("region", "sector")
    grouped, of, labels = _summed_groups(single, names, groups, rule)
    unit, none = {"units": single.seen.attrs["units"]}, {"units": "1"}
    per_group, resolved, family_wise = _of_groups(grouped, labels, rule, single.attrs)
    alone = np.bincount(of) == 1
    data: dict[str, Any] = {n: (both, v.reshape(shape), unit) for n, v in _of_cells(single).items()}
    for name, values in per_group.items():
        about = {} if values.dtype == object else none if name in _NUMBERS else unit
        data[name] = (both, values[of].reshape(shape), about)
    data["share"] = (both, np.diag(single.smooth.kernel).reshape(shape), none)
    data["resolved"] = (both, (resolved & alone)[of].reshape(shape))
    for name, source in (("error", "inversion_covariance"), ("prior", "prior_covariance")):
        whole = correlation_of(single.seen[source].values).reshape(*shape, *shape)
        data[f"{name}_correlation"] = ((*both, "sector_cov"), np.einsum("rsrt->rst", whole), none)
    coords = names_of(single.seen, order) | {"sector": list(names), "sector_cov": list(names)}
    result = xr.Dataset(data, coords).assign(_sums(grouped, order, unit))
    return result.assign_attrs(single.attrs | {"family_wise": family_wise})


def _of_groups(
    grouped: Sides, labels: Sequence[str], rule: Rule, attrs: Mapping[str, Any]
) -> tuple[dict[str, Any], np.ndarray, float]:
    """Return the columns of groups, which of them are resolved, and the family-wise rate."""
    difference, share = grouped.smooth.difference, np.diag(grouped.smooth.kernel)
    deviation = root(np.diag(grouped.smooth.covariance))
    z = np.divide(difference, deviation, out=np.full_like(deviation, np.nan), where=deviation > 0)
    resolved = np.isfinite(z) & (share >= rule.min_share) & (not refusal(carried(attrs)))
    decided = decide(z, grouped.smooth.covariance, resolved, rule)
    columns = {
        "group": np.array(labels, dtype=object),
        "group_difference": difference,
        "group_difference_sigma": deviation,
        "group_joint_sigma": deviation / (np.where(share > UNSEEN, share, np.nan) * grouped.inside),
        "group_share": share,
        "group_z": z,
        "group_p_adjusted": decided.p_adjusted,
        "group_verdict": np.array(decided.words, dtype=object),
        "group_remark": np.array(remarks(decided.words, attrs["caution"]), dtype=object),
    }
    return columns, resolved, decided.family_wise


def _of_cells(single: Sides) -> dict[str, Floats]:
    """Return the columns of sectors by themselves."""
    seen, book, smooth = single.seen, single.book, single.smooth
    return {
        "inversion": seen["inversion"].values,
        "inversion_sigma": root(np.diag(seen["inversion_covariance"].values)),
        "inventory": book.rate,
        "inventory_sigma": book.sigma,
        "prior": seen["prior"].values,
        "prior_sigma": root(np.diag(seen["prior_covariance"].values)),
        "difference": smooth.difference,
        "difference_sigma": root(np.diag(smooth.covariance)),
    }


def _summed_groups(
    single: Sides, names: Sequence[str], groups: Sequence[Groups], rule: Rule
) -> tuple[Sides, np.ndarray, list[str]]:
    """Return all groups as cells, which group each cell belongs to, and what groups are called."""
    n, sectors = single.seen.sizes["region"], len(names)
    flat = [[r * sectors + s for s in members] for r, made in enumerate(groups) for members in made]
    P = np.zeros((len(flat), n))
    of = np.zeros(n, dtype=np.intp)
    for g, members in enumerate(flat):
        P[g, members], of[members] = 1.0, g
    labels = [" + ".join(names[i % sectors] for i in members) for members in flat]
    seen, book = single.seen, single.book
    first = [members[0] for members in flat]
    code = seen["code"].values[first].astype(str)
    square = ("region", "region_cov")
    more = {"covered": ("region", seen["covered"].values[first])} if "covered" in seen.coords else {}
    merged = xr.Dataset(
        {
            **{name: ("region", P @ seen[name].values) for name in ("prior", "inversion")},
            **{name: (square, P @ seen[name].values @ P.T) for name in ("prior_covariance", "inversion_covariance")},
        },
        cells.cell_coords(list(zip(code, labels, strict=True)), "sector", more),
        seen.attrs,
    )
    D = np.nan_to_num(single.inventory_covariance)
    covered = cells.covered_part(seen)
    whole = np.divide(D, np.outer(covered, covered), out=np.zeros_like(D), where=np.outer(covered, covered) > 0)
    missing = (P @ np.isnan(single.smooth.difference)) > 0
    rate = np.where(missing, np.nan, P @ np.nan_to_num(book.rate))
    spread = P @ whole @ P.T
    total = Book(rate, np.where(missing, np.nan, root(np.diag(spread))), ("",) * len(flat), book.about)
    return lay_beside(merged, total, rule, "sector", correlation=correlation_of(spread)), of, labels


def _sums(grouped: Sides, order: Sequence[str], unit: dict[str, str]) -> dict[str, Any]:
    """Return the differences of whole regions: sums over those of their groups that can be compared."""
    code = grouped.seen["code"].values.astype(str)
    usable = np.isfinite(grouped.smooth.difference)
    P = np.array([(code == name) & usable for name in order], dtype=np.float64)
    there = P.any(axis=1)
    value = np.where(there, P @ np.nan_to_num(grouped.smooth.difference), np.nan)
    spread = P @ np.nan_to_num(grouped.smooth.covariance) @ P.T
    sigma = np.where(there, root(np.diag(spread)), np.nan)
    return {"region_difference": ("region", value, unit), "region_difference_sigma": ("region", sigma, unit)}
