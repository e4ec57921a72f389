"""Vocabularies of categories and how they stand for each other: IPCC 2006, CRF and CRT, CEADs' sectors, GB/T 4754.

The tables are data files beside this module. Codes of IPCC 2006 and CRF are checked against the package
climate-categories in the environment of `.ci/primap2`; it is no dependency, for it is capped at certain versions of
Python and brings a code formatter along. The sums that cut across the tree (`entry.AGGREGATES`) have primap2's names.
"""

from __future__ import annotations

import csv
import functools
import io
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final, TypeVar

from inversion.inventory.entry import AGGREGATES, TOTAL, CategoryError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sector:
    """One of CEADs' 47 sectors, which follow GB/T 4754-1994 in the main.

    Attributes
    ----------
    name, name_zh : str
    energy : str
        IPCC 2006 category of its fuels; where they belong to several, the nearest that holds them all.
    energies : tuple of str
        Those several.
    process : str
        IPCC 2006 category of its process emissions.
    gbt4754_2011, gbt4754_2017 : tuple of str
        Two-digit divisions of the two editions that hold it; a division may hold parts of several sectors.
    note : str
    """

    name: str
    name_zh: str
    energies: tuple[str, ...]
    process: str
    gbt4754_2011: tuple[str, ...]
    gbt4754_2017: tuple[str, ...]
    note: str

    @property
    def energy(self) -> str:
        """Nearest IPCC 2006 category that holds all its fuels."""
        return common(self.energies)


@dataclass(frozen=True, slots=True)
class Counterpart:
    """What a category of one vocabulary is in IPCC 2006.

    Attributes
    ----------
    code : str
        IPCC 2006 category or one of `entry.AGGREGATES`.
    part : bool
        It is only a part of that category, or the nearest that holds it.
    note : str
    """

    code: str
    part: bool
    note: str


def _table(name: str) -> list[dict[str, str]]:
    text = (files("inversion.inventory") / "data" / name).read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text)))


def _divisions(text: str) -> tuple[str, ...]:
    """Spell out ``01 02 63-65``."""
    spans = [part.partition("-") for part in text.split()]
    return tuple(f"{n:02d}" for first, _, last in spans for n in range(int(first), int(last or first) + 1))


def _sector(row: dict[str, str]) -> Sector:
    return Sector(
        name=row["sector"],
        name_zh=row["name_zh"],
        energies=tuple(row["energy"].split()),
        process=row["process"] or "2",
        gbt4754_2011=_divisions(row["gbt4754_2011"]),
        gbt4754_2017=_divisions(row["gbt4754_2017"]),
        note=row["note"],
    )


def parent(code: str) -> str:
    """Return the category above; that of the sectors is the total.

    Examples
    --------
    >>> parent("1.A.1.c.ii"), parent("1"), parent("M.BK.A")
    ('1.A.1.c', '0', 'M.BK')
    """
    above = code.rpartition(".")[0]
    return TOTAL if above in ("", "M", "M.0") else above


def common(codes: Sequence[str]) -> str:
    """Return the nearest category that holds all of `codes`.

    Examples
    --------
    >>> common(["1.A.1.b", "1.A.1.c.i"]), common(["1.A.2.a"])
    ('1.A.1', '1.A.2.a')
    """
    found = codes[0]
    while not all(holds(found, code) for code in codes):
        found = parent(found)
    return found


def holds(category: str, code: str) -> bool:
    """Say whether `code` is `category` or lies in it; memo items lie in nothing but themselves.

    The aggregates are spelt out where the tree allows it: agriculture is 3.A and 3.C, land use 3.B and 3.D.

    Examples
    --------
    >>> holds("1.A", "1.A.2.e"), holds("0", "2.A.1"), holds("M.LULUCF", "3.B.1")
    (True, True, True)
    >>> holds("1.A.1", "1.A.2"), holds("0", "M.BK")
    (False, False)
    """
    if category == code:
        return True
    if category == TOTAL:
        return not code.startswith("M.") or code in _IN_TOTAL
    if category in _SPELT_OUT:
        return any(holds(part, code) for part in _SPELT_OUT[category])
    return code.startswith(f"{category}.")


def overlap(one: str, other: str) -> bool:
    """Say whether two categories have emissions in common, so that their sum would hold some twice.

    Examples
    --------
    >>> overlap("1.A", "1.A.2"), overlap("1.A", "1.B"), overlap("0", "M.BK"), overlap("M.BIO", "1")
    (True, False, False, False)
    >>> overlap("M.AG", "3"), overlap("M.0.EL", "3"), overlap("3", "M.LULUCF"), overlap("M.0.EL", "M.LULUCF")
    (True, True, True, False)
    """
    return any(holds(a, b) or holds(b, a) for a, b in itertools.product(_spelt(one), _spelt(other)))


def _spelt(category: str) -> tuple[str, ...]:
    """Return the categories of the tree that an aggregate is made of; another category is its own."""
    parts = _SPELT_OUT.get(category)
    return (category,) if parts is None else tuple(code for part in parts for code in _spelt(part))


def nearest(found: Mapping[str, T], category: str) -> T | None:
    """Return what is there for a category, or for the nearest it is part of, or for all ("0"); else None.

    Examples
    --------
    >>> nearest({"1.A": "energy", "0": "all"}, "1.A.3.b"), nearest({"1.A": "energy"}, "2")
    ('energy', None)
    """
    while category not in found and category != TOTAL:
        category = parent(category)
    return found.get(category)


_SPELT_OUT: Final = {
    "M.LULUCF": ("3.B", "3.D"),
    "M.AG": ("3.A", "3.C", "M.AG.ELV"),
    "M.AG.ELV": ("3.C",),
    "M.0.EL": ("1", "2", "M.AG", "4", "5"),
}
_IN_TOTAL: Final = ("M.0.EL", "M.AG", "M.AG.ELV", "M.LULUCF")


@functools.cache
def ipcc2006() -> dict[str, str]:
    """Return the names of the categories of the 2006 IPCC Guidelines (Vol. 1, Table 8.2) and of `AGGREGATES`."""
    return {row["code"]: row["name"] for row in _table("ipcc2006.csv")}


@functools.cache
def _crt() -> dict[str, Counterpart]:
    return {row["crt"]: Counterpart(row["ipcc2006"], row["part"] == "1", row["note"]) for row in _table("crt.csv")}


def from_crt(code: str) -> Counterpart:
    """Return the IPCC 2006 category of a CRF (2013) or CRT code.

    What the table does not name is what it is called in IPCC 2006 (energy, industrial processes), or a part of the
    counterpart of the category above.

    Raises
    ------
    CategoryError
        For a code that is in no sector of the tables.

    Examples
    --------
    >>> from_crt("3.A").code, from_crt("5.D.1").code, from_crt("1.A.2.a").code, from_crt("2.A.1").code
    ('3.A.1', '4.D.1', '1.A.2.a', '2.A.1')
    """
    known = _crt().get(code)
    if known is not None:
        return known
    if code[:1] in ("1", "2") and code in ipcc2006():
        return Counterpart(code, part=False, note="")
    above = code.rpartition(".")[0]
    if not above:
        raise CategoryError(f"{code!r} is no CRF or CRT category: they begin with 1 (energy) to 6 (other).")
    return Counterpart(from_crt(above).code, part=True, note=f"part of {above}")


CEADS_SECTORS: Final = {sector.name: sector for sector in map(_sector, _table("ceads_sectors.csv"))}
"""CEADs' 47 sectors by name, in the order of the sheets."""
_LAST: Final = {2011: 96, 2017: 97}
EDITIONS: Final = tuple(_LAST)
"""Editions of GB/T 4754 that the sectors are mapped to."""


def ceads_sectors(division: str, edition: int = 2017) -> tuple[str, ...]:
    """Return the CEADs sectors that hold activities of a two-digit division of GB/T 4754.

    Raises
    ------
    CategoryError
        When the edition is not mapped, or has no such division.

    Examples
    --------
    >>> ceads_sectors("29"), ceads_sectors("36", 2011)
    (('Rubber Products', 'Plastic Products'), ('Transportation Equipment',))
    """
    if edition not in EDITIONS:
        raise CategoryError(f"GB/T 4754-{edition} is not mapped: {' and '.join(map(str, EDITIONS))} are.")
    found = tuple(
        sector.name
        for sector in CEADS_SECTORS.values()
        if division in (sector.gbt4754_2011 if edition == EDITIONS[0] else sector.gbt4754_2017)
    )
    if not found:
        raise CategoryError(f"GB/T 4754-{edition} has no division {division!r}: they run from 01 to {_LAST[edition]}.")
    return found


def name(code: str) -> str:
    """Return the name of an IPCC 2006 category; "" where it has none.

    Examples
    --------
    >>> name("1.A.2.e"), name("M.BK")
    ('Food Processing, Beverages and Tobacco', 'International bunkers (memo)')
    """
    return ipcc2006().get(code) or AGGREGATES.get(code, "")
