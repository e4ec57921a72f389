r"""From an energy balance to emissions: every line a product of an activity and factors, every σ with its causes.

    E_i = a_i · NCV · c · o · 44/12    (CO2, by carbon),    E_i = a_i · NCV · EF    (other gases, or by choice)

(2006 IPCC Guidelines Vol. 2, eq. 2.1 and Tables 1.2 to 1.4). Two lines that take the same row of the factor table hang
on one number: its error is one error, in all regions, sectors and years that use it. Errors are written as

    θ_k = θ̄_k (1 + s_k δ_k),     δ = A ξ,     ξ ~ N(0, I)

with one ξ for what is alone in an input and further ones for what several inputs share (`Correlations`), so that every
δ_k has variance 1. **Approach 1** is the first order of it, Cov E = P Pᵀ with the loadings P = diag(E) L diag(s) A,
where L says which line takes which input; **approach 2** draws ξ and multiplies, a factor with a large σ as lognormal
with the same mean and σ (2006 IPCC Guidelines Vol. 1, sections 3.2.3.1 and 3.2.3.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from inversion.inventory.balance import PURCHASED, Activity, Balance
from inversion.inventory.entry import InventoryError
from inversion.inventory.factors import LARGE, Factor, FactorError, FactorTable

Floats = NDArray[np.float64]

CARBON_TO_CO2: Final = 44.0 / 12.0
"""As the Guidelines round it."""
METHODS: Final = ("carbon", "emission")


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlations:
    """What errors of different inputs have in common; errors of one input are one error anyway.

    Attributes
    ----------
    sectors : float
        Between activities of one fuel in one region and period (a balance that was split over sectors).
    regions : float
        Between activities of one fuel and sector in different regions (one statistical office).
    years : float
        Between activities of one region, sector and fuel in different periods (one way of counting).
    factors : float
        Between different rows of the table for one quantity and fuel (provinces and years measured alike).
    """

    sectors: float = 0.0
    regions: float = 0.0
    years: float = 0.0
    factors: float = 0.0

    def __post_init__(self) -> None:
        parts = (self.sectors, self.regions, self.years, self.factors)
        if min(parts) < 0 or self.sectors + self.regions + self.years > 1 or self.factors > 1:
            raise InventoryError(
                "Correlations",
                [f"sectors, regions, years and factors are {parts}: none below 0, the first three at most 1 together."],
            )


@dataclass(frozen=True, slots=True)
class Input:
    """A number that lines are made of: an activity, or a row of the factor table.

    Attributes
    ----------
    kind : str
        ``activity``, ``ncv``, ``carbon``, ``oxidation``, ``emission`` or ``grid``.
    name : str
        What it is, and where it was read.
    value : float
    sigma : float
        Relative σ, 1.
    """

    kind: str
    name: str
    value: float
    sigma: float

    @property
    def lognormal(self) -> bool:
        """Approach 2 draws it as lognormal."""
        return self.sigma > LARGE


@dataclass(frozen=True, slots=True)
class Line:
    """One product: which activity, and the rows of the table that were used.

    Attributes
    ----------
    activity : Activity
    gas : str
    rows : tuple of Factor
    """

    activity: Activity
    gas: str
    rows: tuple[Factor, ...]


@dataclass(frozen=True, slots=True)
class Estimate:
    """Emissions of a balance, line by line; totals of it are in `inversion.inventory.uncertainty`.

    Attributes
    ----------
    lines : tuple of Line (n)
    value : array (n,)
        kt of the gas over the period.
    inputs : tuple of Input (k)
    parts : array (n, 4) of int
        Which inputs a line takes; -1 for none.
    mixing : sparse matrix (k, l)
        A; its rows have the norm 1.
    scope : int
        1: what is emitted there; 2: what is emitted elsewhere for electricity and heat that are used there.
    unquantified : tuple of Activity
        Cells with a notation key.
    factors : str
        Name, version and digest of the factor table.
    """

    lines: tuple[Line, ...]
    value: Floats
    inputs: tuple[Input, ...]
    parts: NDArray[np.intp]
    mixing: sp.csr_array
    scope: int
    unquantified: tuple[Activity, ...] = ()
    factors: str = ""

    @property
    def loadings(self) -> sp.csr_array:
        """P = diag(E) L diag(s) A (n, l), kt: what a unit of each ξ does to each line."""
        n, k = self.value.size, len(self.inputs)
        rows, columns = np.nonzero(self.parts >= 0)
        taken = sp.csr_array((np.ones(rows.size), (rows, self.parts[rows, columns])), shape=(n, k))
        spread = np.array([one.sigma for one in self.inputs])
        return sp.csr_array(sp.diags_array(self.value) @ taken @ sp.diags_array(spread) @ self.mixing)


def estimate(
    balance: Balance,
    factors: FactorTable,
    *,
    gas: str = "co2",
    method: str = "auto",
    scope: int = 1,
    correlations: Correlations | None = None,
) -> Estimate:
    """Return the emissions of an energy balance, year by year and region by region as it holds them.

    Parameters
    ----------
    balance : Balance
        Fuels alone for scope 1, electricity and heat alone for scope 2 (`Balance.apart`).
    factors : FactorTable
    gas : str
    method : {"auto", "carbon", "emission"}
        By carbon content and oxidation, or by an emission factor; ``auto``: by carbon for CO2.
    scope : {1, 2}
    correlations : Correlations, optional
        None by default, but for what is the same input.

    Returns
    -------
    Estimate

    Raises
    ------
    InventoryError
        When purchased electricity or heat is among the fuels of territorial emissions, or the other way round.
    FactorError
        With everything the table has no row for.

    Examples
    --------
    1000 TJ of natural gas: 1000 · 15.3 · 44/12 t = 56.1 kt.

    >>> from inversion.inventory.entry import Period
    >>> from inversion.inventory.factorfiles import ipcc2006
    >>> gas = Activity(
    ...     region="CN-ZJ", period=Period.parse("2019"), sector="1.A.1.a", fuel="natural_gas", value=1000.0, unit="TJ"
    ... )
    >>> estimate(Balance((gas,)), ipcc2006()).value.round(3)
    array([56.1])
    """
    _check_scope(balance, scope)
    chosen = ("carbon" if gas == "co2" else "emission") if method == "auto" else method
    if chosen not in METHODS or (chosen == "carbon" and gas != "co2"):
        raise InventoryError(
            balance.name, [f"The method {method!r} does not give {gas}: expected 'auto' or 'emission'."]
        )
    rows_of = _bought if scope == 2 else _by_carbon if chosen == "carbon" else _by_emission
    lines = _looked_up(balance, factors, gas, rows_of)
    return _assembled(
        lines,
        scope,
        correlations or Correlations(),
        unquantified=tuple(a for a in balance.activities if a.value is None),
        factors=f"{factors.name} {factors.version} {factors.digest}".replace("  ", " "),
    )


def _looked_up(
    balance: Balance,
    factors: FactorTable,
    gas: str,
    rows_of: Callable[[Activity, FactorTable, str], Iterator[Factor]],
) -> tuple[Line, ...]:
    lines: list[Line] = []
    faults: list[str] = []
    for activity in balance.activities:
        if activity.value is not None:
            try:
                lines.append(Line(activity, gas, tuple(rows_of(activity, factors, gas))))
            except FactorError as error:
                faults += [f"{activity.place}: {fault}" for fault in error.faults]
    if faults:
        raise FactorError(factors.name, dict.fromkeys(faults))
    return tuple(lines)


def _check_scope(balance: Balance, scope: int) -> None:
    bought = [a for a in balance.activities if a.fuel in PURCHASED]
    burnt = len(balance.activities) - len(bought)
    if scope == 1 and bought:
        where = f"{bought[0].fuel} of {bought[0].sector} in {bought[0].region}, {bought[0].place}"
        sentence = (
            f"Purchased electricity and heat ({len(bought)} cells, the first: {where}) are emitted where they are "
            "made, not in this territory: take the first part of balance.apart(), and the second with scope=2."
        )
        raise InventoryError(balance.name, [sentence])
    if scope == 2 and burnt:
        raise InventoryError(
            balance.name, [f"{burnt} cells are fuels that are burnt there (scope 1): take the second part of apart()."]
        )
    if scope not in (1, 2):
        raise InventoryError(balance.name, [f"The scope is {scope}: expected 1 or 2."])


def _finder(activity: Activity, table: FactorTable, gas: str) -> Callable[..., Factor]:
    def find(quantity: str, *, per: str = "") -> Factor:
        return table.find(
            quantity,
            activity.fuel,
            region=activity.region,
            period=activity.period,
            sector=activity.sector,
            gas=gas,
            per=per,
        )

    return find


def _by_carbon(activity: Activity, table: FactorTable, gas: str) -> Iterator[Factor]:
    find = _finder(activity, table, gas)
    if activity.unit != "TJ":
        yield find("ncv", per=activity.unit)
    yield find("carbon")
    yield find("oxidation")


def _by_emission(activity: Activity, table: FactorTable, gas: str) -> Iterator[Factor]:
    find = _finder(activity, table, gas)
    if activity.unit != "TJ":
        yield find("ncv", per=activity.unit)
    yield find("emission")


def _bought(activity: Activity, table: FactorTable, gas: str) -> Iterator[Factor]:
    yield _finder(activity, table, gas)("grid", per=activity.unit)


def _kilotonnes(line: Line) -> float:
    """Return a line's emission: TJ · kg/TJ (or TJ · t C/TJ, GWh · kg/kWh) in kt."""
    value = line.activity.value or 0.0
    kinds = {row.quantity: row.value for row in line.rows}
    energy = value * kinds.get("ncv", 1.0)
    if "grid" in kinds:
        return value * kinds["grid"] * (1.0 if line.activity.unit == "GWh" else 1e-3)
    if "carbon" in kinds:
        return energy * kinds["carbon"] * kinds["oxidation"] * CARBON_TO_CO2 * 1e-3
    return energy * kinds["emission"] * 1e-6


def _assembled(
    lines: tuple[Line, ...], scope: int, rho: Correlations, *, unquantified: tuple[Activity, ...], factors: str
) -> Estimate:
    inputs: list[Input] = []
    shared: list[list[tuple[object, float]]] = []
    number: dict[object, int] = {}
    parts = np.full((len(lines), 4), -1, dtype=np.intp)
    for i, line in enumerate(lines):
        a = line.activity
        parts[i, 0] = len(inputs)
        inputs.append(
            Input("activity", f"{a.fuel} {a.sector} {a.region} {a.period} ({a.place})", a.value or 0.0, a.sigma)
        )
        shared.append(_in_common(a, rho))
        for j, row in enumerate(line.rows, 1):
            key = (row.key, row.place)
            if key not in number:
                number[key] = len(inputs)
                inputs.append(Input(row.quantity, str(row), row.value, row.relative))
                shared.append([((row.quantity, row.fuel), rho.factors)])
            parts[i, j] = number[key]
    return Estimate(
        lines=lines,
        value=np.array([_kilotonnes(line) for line in lines], dtype=np.float64),
        inputs=tuple(inputs),
        parts=parts,
        mixing=_mixing(shared),
        scope=scope,
        unquantified=unquantified,
        factors=factors,
    )


def _in_common(a: Activity, rho: Correlations) -> list[tuple[object, float]]:
    return [
        (("sectors", a.fuel, a.region, a.period), rho.sectors),
        (("regions", a.fuel, a.sector, a.period), rho.regions),
        (("years", a.fuel, a.sector, a.region, a.label), rho.years),
    ]


def _mixing(shared: list[list[tuple[object, float]]]) -> sp.csr_array:
    """Return A: √ρ for every part in common, and √(1 - Σρ) for what is the input's own."""
    k = len(shared)
    column: dict[object, int] = {}
    entries: list[tuple[int, int, float]] = []
    for i, parts in enumerate(shared):
        own = max(0.0, 1.0 - sum(rho for _, rho in parts))
        entries += [(i, i, math.sqrt(own))] if own else []
        entries += [(i, column.setdefault(key, k + len(column)), math.sqrt(rho)) for key, rho in parts if rho]
    rows, columns, weights = (np.array(part) for part in zip(*entries, strict=True)) if entries else ([], [], [])
    return sp.csr_array((weights, (rows, columns)), shape=(k, k + len(column)), dtype=np.float64)
