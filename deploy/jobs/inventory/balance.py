"""An inventory made from energy balances, year by year: entries, both approaches' uncertainties, what they hang on."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from deploy import outputs
from deploy.errors import DeployError
from inversion.inventory import Inventory, balance, bottomup, factorfiles, uncertainty
from inversion.inventory import write as write_ledger
from inversion.inventory.bottomup import Correlations, Estimate
from qc.document import Table, load


@dataclass(frozen=True, slots=True)
class Made:
    """How an inventory is made, checked.

    Attributes
    ----------
    balances : tuple of Path
        One table each, or one a year: they are put together, and share their factors.
    factors : tuple of (Path, version)
        The first goes over the next; the 2006 IPCC Guidelines' defaults lie below all.
    """

    balances: tuple[Path, ...]
    encoding: str
    sectors: Mapping[str, str]
    fuels: Mapping[str, str]
    factors: tuple[tuple[Path, str], ...]
    gas: str
    correlations: Correlations
    categories: tuple[str, ...]
    source: str
    vintage: str
    draws: int
    seed: int
    output: Path


def read_balance(path: str | Path) -> Made:
    """Return a configuration; paths in it are relative to its folder.

    Raises
    ------
    DeployError, ConfigError
        With every fault at once; for an unknown key with the nearest known one.
    """
    path = Path(path)
    faults: list[str] = []
    top = Table(load(path), path.name, faults)
    rho = top.table("correlation", {})
    output = top.text("output", "inventory")
    made = Made(
        balances=tuple(path.parent / file for file in top.texts("balances")),
        encoding=top.text("encoding", "utf-8-sig"),
        sectors=_words(top.table("sectors", {})),
        fuels=_words(top.table("fuels", {})),
        factors=tuple(_factors(table, path.parent) for table in top.tables("factors")),
        gas=top.text("gas", "co2"),
        correlations=Correlations(
            **{name: rho.number(name, 0.0, low=0.0, high=1.0) for name in ("sectors", "regions", "years", "factors")}
        ),
        categories=top.texts("categories"),
        source=top.text("source"),
        vintage=top.text("vintage"),
        draws=top.count("draws", 10_000, low=100),
        seed=top.count("seed", 1, low=0),
        output=path.parent / (output or "inventory"),
    )
    rho.close()
    top.close()
    if not made.balances:
        faults.append(f'{path.name}.balances: name the tables, as ["balance-2022.csv", "balance-2023.csv"]')
    lost = [file.name for file in (*made.balances, *(file for file, _ in made.factors)) if not file.is_file()]
    faults += [f"there is no file {name}; paths are relative to the configuration" for name in lost]
    if faults:
        msg = "; ".join(faults)
        raise DeployError(msg)
    return made


def make(settings: Made) -> tuple[Inventory, list[Path], list[str]]:
    """Return the inventory, the files written into the output folder, and lines for a terminal.

    Written are ``ledger.csv`` (read back by `inversion.inventory.read`), ``totals.csv`` (σ by approach 1, interval by
    approach 2), ``scope2.csv`` where electricity or heat was bought, and ``sensitivity.csv``.

    Raises
    ------
    DeployError
        Where no fuel is burnt.
    InventoryError
        With every fault of balances and factors, each with its file and line.
    """
    tables = [
        balance.read(file, sectors=settings.sectors, fuels=settings.fuels, encoding=settings.encoding)
        for file in settings.balances
    ]
    burnt, bought = tables[0].joined(*tables[1:]).apart()
    if not burnt.activities:
        names = ", ".join(file.name for file in settings.balances)
        msg = f"{names}: no fuel is burnt in it, only electricity or heat bought, which are emitted where they are made"
        raise DeployError(msg)
    factors = factorfiles.ipcc2006()
    for file, version in reversed(settings.factors):
        factors = factorfiles.read(file, version=version).over(factors)
    made = bottomup.estimate(burnt, factors, gas=settings.gas, correlations=settings.correlations)
    first, second = _totals(made, settings)
    book = uncertainty.inventory(
        made, source=settings.source, vintage=settings.vintage, categories=settings.categories, name=settings.vintage
    )
    folder = outputs.folder(settings.output)
    written = [
        write_ledger(book, folder / "ledger.csv"),
        _table(folder / "totals.csv", _rows(first, second)),
        _table(folder / "sensitivity.csv", _inputs(uncertainty.sensitivity(made))),
    ]
    if bought.activities:
        used = bottomup.estimate(bought, factors, gas=settings.gas, scope=2, correlations=settings.correlations)
        written.append(_table(folder / "scope2.csv", _rows(*_totals(used, settings))))
    return book, written, _lines(first, second, made)


def _totals(made: Estimate, settings: Made) -> tuple[xr.Dataset, xr.Dataset]:
    rng = np.random.default_rng(settings.seed)
    return uncertainty.approach1(made), uncertainty.approach2(made, draws=settings.draws, rng=rng)


def _rows(first: xr.Dataset, second: xr.Dataset) -> list[dict[str, Any]]:
    return [
        {
            "region": str(first["region"].values[k]),
            "period": str(first["period"].values[k]),
            "value_kt": float(first["value"][k]),
            "sigma_approach1_kt": float(first["sigma"][k]),
            "sigma_approach2_kt": float(second["sigma"][k]),
            "lower_95_kt": float(second["lower"][k]),
            "upper_95_kt": float(second["upper"][k]),
        }
        for k in range(first.sizes["group"])
    ]


def _inputs(found: xr.Dataset) -> list[dict[str, Any]]:
    names = ("kind", "name", "value", "sigma", "elasticity", "variance_share")
    heads = {"sigma": "sigma_relative"}
    return [
        {heads.get(name, name): found[name].values[k].item() for name in names} for k in range(found.sizes["input"])
    ]


def _lines(first: xr.Dataset, second: xr.Dataset, made: Estimate) -> list[str]:
    lines = ["totals, kt: σ by approach 1, and by approach 2 with its 95 % interval"]
    lines += [
        f"  {row['region']:8} {row['period']:10} {row['value_kt']:12.6g} ± {row['sigma_approach1_kt']:.4g}   "
        f"± {row['sigma_approach2_kt']:.4g} ({row['lower_95_kt']:.6g} to {row['upper_95_kt']:.6g})"
        for row in _rows(first, second)
    ]
    lines.append("what the sum of them hangs on")
    for row in _inputs(uncertainty.sensitivity(made))[:5]:
        name = row["name"] if row["name"].startswith(row["kind"]) else f"{row['kind']} {row['name']}"
        lines.append(f"  {row['variance_share']:6.1%} of the variance: {name}")
    return lines


def _table(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def _words(table: Table) -> dict[str, str]:
    found = {key: str(table.text(key)) for key in table.keys()}  # noqa: SIM118  a Table is no dict
    table.close()
    return found


def _factors(table: Table, folder: Path) -> tuple[Path, str]:
    file, version = table.text("file"), table.text("version")
    table.close()
    return folder / (file or ""), str(version)
