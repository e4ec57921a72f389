"""Totals of a bottom-up estimate with their σ (approach 1 and 2), and what a difference can be traced to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import scipy.sparse as sp
import xarray as xr
from numpy.typing import NDArray

from inversion.inventory.bottomup import Estimate, Floats, Line
from inversion.inventory.entry import UNIT, Entry, Inventory, InventoryError, Period, category
from inversion.inventory.prefectures import chain

_PROPERTIES: Final = ("region", "period", "sector", "fuel", "gas")
_PROVINCE: Final = 3  # length of the chain of a province: itself, the country, everywhere
_PREFECTURE: Final = 4
_CHUNK: Final = 500  # draws at a time: 24,000 lines of them are 100 MB


def _label(line: Line, name: str) -> str:
    return line.gas if name == "gas" else str(getattr(line.activity, name))


def grouped(estimate: Estimate, by: Sequence[str]) -> tuple[list[tuple[str, ...]], sp.csr_array]:
    """Return the groups of lines that share the properties `by`, and the sums W (g, n) of them.

    Raises
    ------
    InventoryError
        For a property that lines do not have.
    """
    strange = [name for name in by if name not in _PROPERTIES]
    if strange:
        raise InventoryError("The grouping", [f"Lines have no {', '.join(strange)}, but {', '.join(_PROPERTIES)}."])
    keys = [tuple(_label(line, name) for name in by) for line in estimate.lines]
    groups = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    rows = np.array([groups[key] for key in keys], dtype=np.intp)
    shape = (len(groups), len(keys))
    return list(groups), sp.csr_array((np.ones(len(keys)), (rows, np.arange(len(keys)))), shape=shape)


def approach1(estimate: Estimate, by: Sequence[str] = ("region", "period")) -> xr.Dataset:
    """Return totals with σ and covariance by error propagation (2006 IPCC Guidelines Vol. 1, section 3.2.3.1).

    Cov T = W P (W P)ᵀ

    Parameters
    ----------
    estimate : Estimate
    by : sequence of {"region", "period", "sector", "fuel", "gas"}

    Returns
    -------
    xr.Dataset (group, group_cov)
        ``value``, ``sigma`` [kt], ``covariance`` [kt2]; the properties as coordinates; attribute ``scope``.
    """
    groups, W = grouped(estimate, by)
    loads = (W @ estimate.loadings).toarray() if len(groups) < 2000 else W @ estimate.loadings
    covariance = loads @ loads.T
    square = covariance.toarray() if sp.issparse(covariance) else covariance
    return _totals(estimate, by, groups, {"value": W @ estimate.value, "sigma": np.sqrt(np.diag(square))}).assign(
        covariance=(("group", "group_cov"), square, {"units": f"{UNIT}2"})
    )


def approach2(
    estimate: Estimate,
    by: Sequence[str] = ("region", "period"),
    *,
    draws: int = 10_000,
    rng: np.random.Generator,
) -> xr.Dataset:
    """Return totals with σ and 95 % intervals by Monte Carlo (2006 IPCC Guidelines Vol. 1, section 3.2.3.2).

    Parameters
    ----------
    estimate : Estimate
    by : sequence of str
    draws : int
    rng : numpy.random.Generator
        The same seed gives the same draws.

    Returns
    -------
    xr.Dataset (group, draw)
        ``value`` (mean), ``sigma``, ``median``, ``lower``, ``upper`` and all ``draws`` [kt].
    """
    groups, W = grouped(estimate, by)
    pieces = [W @ sample(estimate, min(_CHUNK, draws - start), rng=rng) for start in range(0, draws, _CHUNK)]
    drawn = np.concatenate(pieces, axis=1)
    lower, median, upper = np.quantile(drawn, [0.025, 0.5, 0.975], axis=1)
    columns = {
        "value": drawn.mean(axis=1),
        "sigma": drawn.std(axis=1, ddof=1),
        "median": median,
        "lower": lower,
        "upper": upper,
    }
    return _totals(estimate, by, groups, columns).assign(draws=(("group", "draw"), drawn, {"units": UNIT}))


def sample(estimate: Estimate, draws: int, *, rng: np.random.Generator) -> Floats:
    """Return draws of every line (n, draws), kt: all inputs drawn together, and multiplied.

    θ_k / θ̄_k = 1 + s δ,  or exp(ς δ - ς²/2) with ς² = ln(1 + s²) where s is large
    """
    delta = estimate.mixing @ rng.standard_normal((estimate.mixing.shape[1], draws))
    spread = np.array([one.sigma for one in estimate.inputs])[:, None]
    large = np.array([one.lognormal for one in estimate.inputs], dtype=bool)
    ratio = 1.0 + spread * delta
    varsigma = np.sqrt(np.log1p(spread[large] ** 2))
    ratio[large] = np.exp(varsigma * delta[large] - 0.5 * varsigma**2)
    product = np.repeat(estimate.value[:, None], draws, axis=1)
    for column in estimate.parts.T:
        has = column >= 0
        product[has] *= ratio[column[has]]
    return product


def _totals(
    estimate: Estimate, by: Sequence[str], groups: list[tuple[str, ...]], columns: dict[str, Floats]
) -> xr.Dataset:
    return xr.Dataset(
        {name: ("group", np.asarray(values), {"units": UNIT}) for name, values in columns.items()},
        coords={name: ("group", [group[i] for group in groups]) for i, name in enumerate(by)},
        attrs={"scope": estimate.scope, "factors": estimate.factors},
    )


def matrix(estimate: Estimate, region: str, period: str) -> xr.Dataset:
    """Return the emissions of one region and period as sectors by fuels, beside `Balance.matrix` of their activities.

    Returns
    -------
    xr.Dataset (sector, fuel)
        ``value`` and ``sigma`` (approach 1), kt; NaN where there is no activity.

    Raises
    ------
    InventoryError
        When there is nothing of the region and period.
    """
    chosen = _chosen(estimate, region, period, None)
    groups, W = grouped(estimate, ("sector", "fuel"))
    W = W[:, np.flatnonzero(chosen)]
    columns = {"value": W @ estimate.value[chosen], "sigma": _norms(W @ estimate.loadings[np.flatnonzero(chosen)])}
    there = np.flatnonzero(W.sum(axis=1))
    sectors, fuels = (list(dict.fromkeys(groups[g][i] for g in there)) for i in (0, 1))
    tables = {name: np.full((len(sectors), len(fuels)), np.nan) for name in columns}
    for g in there:
        for name, values in columns.items():
            tables[name][sectors.index(groups[g][0]), fuels.index(groups[g][1])] = values[g]
    return xr.Dataset(
        {name: (("sector", "fuel"), table, {"units": UNIT}) for name, table in tables.items()},
        coords={"sector": sectors, "fuel": fuels},
        attrs={"region": region, "period": period, "scope": estimate.scope, "factors": estimate.factors},
    )


def change(estimate: Estimate, first: str, last: str, by: Sequence[str] = ("region",)) -> xr.Dataset:
    """Return the change from one period to another, errors that both share left out of its σ.

    Parameters
    ----------
    estimate : Estimate
    first, last : str
        Periods.
    by : sequence of str

    Returns
    -------
    xr.Dataset (group)
        ``value``, ``sigma`` and ``sigma_apart`` (as if the errors of both were independent), kt.

    Raises
    ------
    InventoryError
        When there is nothing of one of the periods.
    """
    spans = [Period.parse(text) for text in (first, last)]
    of = np.array([line.activity.period for line in estimate.lines], dtype=object)
    for span in spans:
        if not (of == span).any():
            raise InventoryError("The change", [f"The estimate holds nothing of {span}."])
    groups, W = grouped(estimate, by)
    then, now = (W @ sp.diags_array((of == span).astype(float)) for span in spans)
    P = estimate.loadings
    loads, before, after = (_norms(part @ P) for part in (now - then, then, now))
    columns = {"value": (now - then) @ estimate.value, "sigma": loads, "sigma_apart": np.hypot(before, after)}
    return _totals(estimate, by, groups, columns)


def _norms(matrix: sp.csr_array) -> Floats:
    return np.asarray(np.sqrt(matrix.multiply(matrix).sum(axis=1)), dtype=np.float64).ravel()


def sensitivity(
    estimate: Estimate,
    *,
    region: str | None = None,
    period: str | None = None,
    sector: str | None = None,
    difference: float | None = None,
    difference_sigma: float = 0.0,
) -> xr.Dataset:
    """Return what a total hangs on, input by input, and which of them a difference can be traced to.

    With e_k = Σ_i E_i L_ik / T the elasticity (a percent of the input moves the total by e_k percent) and the input's
    covariance with the total C_k = (A Pᵀ w)_k: the share of the variance is e_k T s_k C_k / Var T (these sum to 1),
    and of a difference Δ, known to σ_Δ, the best estimate of the input's part is (Rodgers 2000, eq. 4.12)

        δ̂_k = C_k Δ / (Var T + σ_Δ²)    in σ of the input,    and alone it would need Δ / (e_k T s_k) of its σ

    Parameters
    ----------
    estimate : Estimate
    region, period, sector : str, optional
        Which lines; a sector with what lies below it.
    difference, difference_sigma : float, optional
        What the total is to be changed by, kt, and how well that is known (1 σ).

    Returns
    -------
    xr.Dataset (input)
        ``kind``, ``name``, ``value``, ``sigma`` (relative), ``elasticity``, ``variance_share``, and with a difference
        ``shift`` (δ̂, in σ), ``part`` (what that explains, kt; sums to Δ where σ_Δ is 0) and ``alone``
        (σ it would take alone). Sorted by share of the variance; inputs that do not count are left out.

    Raises
    ------
    InventoryError
        When no line is chosen.
    """
    chosen = _chosen(estimate, region, period, sector)
    weight = chosen.astype(float)
    total = float(weight @ estimate.value)
    rows, columns = np.nonzero((estimate.parts >= 0) & chosen[:, None])
    moved: Floats = np.asarray(
        np.bincount(estimate.parts[rows, columns], estimate.value[rows], minlength=len(estimate.inputs)),
        dtype=np.float64,
    )
    sigma = np.array([one.sigma for one in estimate.inputs])
    # With the total, in units of the input's own σ.
    covariance = estimate.mixing @ (estimate.loadings.T @ weight)
    variance = float(moved * sigma @ covariance)
    share: Floats = moved * sigma * covariance / variance if variance > 0 else np.zeros(moved.shape)
    numbers: dict[str, Floats] = {
        "value": np.array([one.value for one in estimate.inputs]),
        "sigma": sigma,
        "elasticity": moved / total if total else np.full(moved.shape, np.nan),
        "variance_share": share,
    }
    if difference is not None:
        numbers |= _traced(covariance, moved * sigma, difference, variance + difference_sigma**2)
    return _ranked(estimate, numbers, moved != 0, {"total": total, "total_sigma": float(np.sqrt(max(variance, 0.0)))})


def _traced(covariance: Floats, reach: Floats, difference: float, known: float) -> dict[str, Floats]:
    """Return how far each input would best be moved, what that explains, and how far it would have to move alone."""
    shift = covariance * difference / known if known > 0 else np.zeros(reach.shape)
    alone = np.divide(difference, reach, out=np.full(reach.shape, np.inf), where=reach != 0)
    return {"shift": shift, "part": shift * reach, "alone": alone}


def _chosen(estimate: Estimate, region: str | None, period: str | None, sector: str | None) -> NDArray[np.bool_]:
    span = None if period is None else Period.parse(period)
    code = None if sector is None else category(sector)
    chosen = np.array(
        [
            (region is None or line.activity.region == region)
            and (span is None or line.activity.period == span)
            and (code is None or _below(line.activity.sector, code))
            for line in estimate.lines
        ],
        dtype=bool,
    )
    if not chosen.any():
        raise InventoryError("The choice", [f"No line is of region {region}, period {period} and sector {sector}."])
    return chosen


def _below(sector: str, code: str) -> bool:
    return code in ("0", sector) or sector.startswith(f"{code}.")


def _ranked(
    estimate: Estimate, numbers: dict[str, Floats], counts: NDArray[np.bool_], attrs: dict[str, float]
) -> xr.Dataset:
    order = np.argsort(-numbers["variance_share"], kind="stable")
    order = order[counts[order]]
    return xr.Dataset(
        {name: ("input", values[order]) for name, values in numbers.items()}
        | {
            "kind": ("input", [estimate.inputs[i].kind for i in order]),
            "name": ("input", [estimate.inputs[i].name for i in order]),
        },
        attrs=attrs | {"units": UNIT},
    )


def inventory(
    estimate: Estimate, *, source: str, vintage: str, categories: Sequence[str] = (), name: str = "bottom-up"
) -> Inventory:
    """Return the estimate as an inventory of territorial emissions, σ by approach 1.

    Parameters
    ----------
    estimate : Estimate
        Of scope 1.
    source, vintage : str
    categories : sequence of str
        Further categories that sum what lies below them (``1.A``, ``0``), each with its σ from the full covariance.

    Returns
    -------
    Inventory
        An entry per region, category, gas and period; a cell with nothing but notation keys keeps them.

    Raises
    ------
    InventoryError
        For scope 2: electricity and heat that are used are emitted elsewhere.
    """
    if estimate.scope != 1:
        sentence = (
            "Scope 2 (electricity and heat used) is no territorial emission, and as one it would be counted twice: "
            "take `approach1` for a table of it, and the fuels for an inventory."
        )
        raise InventoryError(name, [sentence])
    keys = [(line.activity.region, line.gas, line.activity.period, line.activity.sector) for line in estimate.lines]
    cells: dict[tuple[str, str, Period, str], list[int]] = {}
    for i, (region, gas, period, sector) in enumerate(keys):
        for code in dict.fromkeys((sector, *(category(c) for c in categories if _below(sector, category(c))))):
            cells.setdefault((region, gas, period, code), []).append(i)
    rows = np.repeat(np.arange(len(cells)), [len(members) for members in cells.values()])
    columns = np.array([i for members in cells.values() for i in members], dtype=np.intp)
    W = sp.csr_array((np.ones(rows.size), (rows, columns)), shape=(len(cells), len(keys)))
    values, sigmas = W @ estimate.value, _norms(W @ estimate.loadings)
    entries = [
        Entry(
            region=region, gas=gas, period=period, category=code, value=float(value), sigma=float(sigma),
            source=source, vintage=vintage, place=estimate.factors,
        )
        for (region, gas, period, code), value, sigma in zip(cells, values, sigmas, strict=True)
    ]  # fmt: skip
    return Inventory((*entries, *_unquantified(estimate, set(cells), source, vintage)), name)


def _unquantified(
    estimate: Estimate, known: set[tuple[str, str, Period, str]], source: str, vintage: str
) -> list[Entry]:
    gases = sorted({line.gas for line in estimate.lines})
    keys: dict[tuple[str, str, Period, str], dict[str, None]] = {}
    for a in estimate.unquantified:
        for gas in gases:
            keys.setdefault((a.region, gas, a.period, a.sector), {})[a.notation] = None
    return [
        Entry(
            region=region, gas=gas, period=period, category=code, notation=",".join(notations), source=source,
            vintage=vintage,
        )
        for (region, gas, period, code), notations in keys.items()
        if (region, gas, period, code) not in known
    ]  # fmt: skip


def inside(estimate: Estimate) -> xr.Dataset:
    """Return provinces beside the sum of their prefectures, period by period, where both are in the estimate.

    Returns
    -------
    xr.Dataset (group)
        ``province``, ``prefectures``, ``difference`` (their sum minus the province) and ``sigma`` of the difference,
        errors in common left out; kt, with coordinates ``region`` and ``period``.
    """
    pairs = [
        (line.activity.region if len(chain(line.activity.region)) == _PROVINCE else "", line) for line in estimate.lines
    ]
    own: set[tuple[str, ...]] = {(region, str(line.activity.period)) for region, line in pairs if region}
    above = [_above(line) for line in estimate.lines]
    groups: list[tuple[str, ...]] = sorted(own & set(above))
    whole = np.array([[(region, str(line.activity.period)) == key for region, line in pairs] for key in groups], float)
    parts = np.array([[key == one for one in above] for key in groups], float)
    shape = (len(groups), len(pairs))
    W_whole, W_parts = (sp.csr_array(matrix.reshape(shape)) for matrix in (whole, parts))
    columns = {
        "province": W_whole @ estimate.value,
        "prefectures": W_parts @ estimate.value,
        "difference": (W_parts - W_whole) @ estimate.value,
        "sigma": _norms((W_parts - W_whole) @ estimate.loadings),
    }
    return _totals(estimate, ("region", "period"), groups, columns)


def _above(line: Line) -> tuple[str, ...]:
    """Return the province of a prefecture, with the period; nothing for other regions (counties lie in prefectures)."""
    region = line.activity.region
    places = chain(region)
    return (places[1], str(line.activity.period)) if len(places) == _PREFECTURE else ()
