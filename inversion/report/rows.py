"""The comparison as rows of text: what the page and the workbook's notes show."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xarray as xr

from inversion.crosscheck import total
from inversion.maps import dash_line_finding
from inversion.report.wording import MARKS, NOTHING, number, percent, unit, window, with_sigma

_LEAKS: Final = 0.1
_CORRELATED: Final = 0.3
"""From where on leakage and correlation of errors are remarked on."""
GASES: Final = {"co2": "CO₂", "ch4": "CH₄", "n2o": "N₂O", "co": "CO"}


@dataclass(frozen=True, slots=True)
class Row:
    """One region of the table, written out."""

    code: str
    name_zh: str
    name_en: str
    inventory: str
    prior: str
    inversion: str
    difference: str
    implied: str
    z: str
    share: str
    detectable: str
    verdict: str
    mark: str
    remark: str


def rows(comparison: xr.Dataset) -> tuple[list[Row], list[Row], list[Row]]:
    """Return the resolved regions, those not resolved, and those outside the domain, each in the table's order."""
    made = [_row(comparison.isel(region=i)) for i in range(comparison.sizes["region"])]
    resolved = [row for row in made if row.verdict != "not resolved"]
    outside = [row for row in made if row.verdict == "not resolved" and "domain" in row.remark]
    return resolved, [row for row in made if row not in resolved and row not in outside], outside


def _row(region: xr.Dataset) -> Row:
    value = {str(name): region[name].item() for name in region.data_vars if not region[name].dims}
    names = {n: str(region[n].item()) if n in region.coords else "" for n in ("name_zh", "name_en")}
    verdict = str(value["verdict"])
    return Row(
        code=str(region["region"].item()),
        **names,
        inventory=str(value["inventory_notation"]) or with_sigma(value["inventory"], value["inventory_sigma"]),
        prior=with_sigma(value["prior"], value["prior_sigma"]),
        inversion=with_sigma(value["inversion"], value["inversion_sigma"]),
        difference=with_sigma(value["difference"], value["difference_sigma"], sign=True),
        implied=_implied(value) if verdict != "not resolved" else NOTHING,
        z=number(value["z"], 1, sign=True),
        share=percent(value["share"]),
        detectable=_of_ledger(value["detectable"], value["inventory"]),
        verdict=verdict,
        mark=MARKS[verdict],
        remark=_remark(region, value),
    )


def _implied(value: dict[str, Any]) -> str:
    """Return the difference as an error of the ledger, with its part of the ledger."""
    if not np.isfinite(value["ledger_difference"]):
        return NOTHING
    text = with_sigma(value["ledger_difference"], value["joint_sigma"], sign=True)
    share = value["ledger_difference"] / abs(value["inventory"]) if value["inventory"] else np.nan
    return f"{text} ({number(100 * share, 0, sign=True)} %)"


def _of_ledger(amount: float, ledger: float) -> str:
    """Return a smallest error that would show, in percent of the ledger."""
    if not np.isfinite(amount) or not ledger:
        return NOTHING
    share = amount / abs(ledger)
    return "beyond the ledger" if share > 10 else percent(share)


def _remark(region: xr.Dataset, value: dict[str, Any]) -> str:
    if value["reason"]:
        return str(value["reason"])
    remarks = []
    if "covered" in region.coords and float(region["covered"]) < 0.9995:
        remarks.append(f"{number(100 * float(region['covered']), 1)} % of its area compared")
    if abs(value["leakage"]) >= _LEAKS and value["leakage_region"]:
        remarks.append(f"leaks {number(100 * value['leakage'], 0, sign=True)} % from {value['leakage_region']}")
    if abs(value["neighbour_correlation"]) >= _CORRELATED and value["neighbour"]:
        remarks.append(f"r = {number(value['neighbour_correlation'], 1, sign=True)} with {value['neighbour']}")
    return "; ".join(remarks)


def summary(comparison: xr.Dataset) -> list[str]:
    """Return the result in a few sentences."""
    verdicts = comparison["verdict"].values
    count = {word: int((verdicts == word).sum()) for word in MARKS}
    resolved = len(verdicts) - count["not resolved"]
    sentences = [
        (
            f"Of {len(verdicts)} regions the network resolves {resolved}: ledger and sky agree in {count['agree']}, "
            f"the sky has more than the ledger in {count['higher']}, less in {count['lower']}."
        )
    ]
    for word, phrase in (("higher", "More"), ("lower", "Less")):
        made = [_row(comparison.isel(region=i)) for i in np.flatnonzero(verdicts == word)]
        if made:
            named = "; ".join(f"{row.name_en or row.code} by {row.implied}, z = {row.z}" for row in made)
            sentences.append(f"{phrase} in the sky than in the ledger ({unit(comparison.attrs['units'])}): {named}.")
    if resolved:
        expected = number(comparison.attrs["expected_false_alarms"], 1)
        sentences.append(
            f"With right ledgers throughout, {expected} of {resolved} resolved regions would be called higher or lower "
            "by chance."
        )
    return sentences


def sums(comparison: xr.Dataset) -> dict[str, str] | None:
    """Return the row of the sum over all compared regions; None where none are compared."""
    made = total(comparison)
    if not made["regions"]:
        return None
    v: dict[str, Any] = dict(made)
    return {
        "regions": str(v["regions"]),
        "inventory": with_sigma(v["inventory"], v["inventory_sigma"]),
        "prior": with_sigma(v["prior"], v["prior_sigma"]),
        "inversion": with_sigma(v["inversion"], v["inversion_sigma"]),
        "difference": with_sigma(v["difference"], v["difference_sigma"], sign=True),
        "z": number(v["z"], 1, sign=True),
        "share": percent(v["share"]),
        "verdict": str(v["verdict"]),
        "mark": MARKS[str(v["verdict"])],
    }


def assumptions(comparison: xr.Dataset) -> list[tuple[str, str]]:
    """Return what the table rests on, as name and statement."""
    a = comparison.attrs
    category = "all categories (0)" if a["category"] == "0" else f"IPCC 2006 category {a['category']}"
    correlation = a["inventory_correlation"]
    together = f"correlated {correlation:g} between regions" if correlation else "independent between regions"
    ledger = ", ".join(filter(None, (a["ledger_source"], a["ledger_vintage"] and f"vintage {a['ledger_vintage']}")))
    return [
        ("Gas and unit", f"{gas(comparison)}, {unit(a['units'])} of the gas; a year is 365.25 days"),
        ("Ledger", ledger or "source not stated"),
        ("Category", category),
        ("Period of the ledger", str(a["ledger_period"])),
        ("Window of the inversion", window(a["window"]) or "not stated"),
        ("Errors of the ledger", f"Gaussian, {together}"),
        ("σ", "one standard deviation; that of the inversion from its full posterior covariance"),
        ("Rule", a["rule"]),
    ]


LIMITATIONS: Final = (
    (
        "σ of the inversion holds what was assumed of transport, observation and prior errors. One configuration was "
        "run; the spread between configurations is not in it."
    ),
    (
        "The ledger's pattern inside a region is taken from the prior; σ of the difference includes the uncertainty of "
        "that pattern."
    ),
    "All sources of the gas are seen together: natural fluxes must stand on both sides, or on neither.",
    (
        "Regions are land areas within the packaged borders; sea and land abroad belong to none. The borders serve "
        "this comparison and state nothing else."
    ),
)
"""What holds for every report."""


def limitations(comparison: xr.Dataset) -> list[str]:
    """Return what a reader must not read into the table."""
    a = comparison.attrs
    made = list(LIMITATIONS)
    if a["window"] and a["window"] != a["ledger_period"]:
        made.insert(
            0,
            f"The inversion covers {window(a['window'])}, the ledger {a['ledger_period']}: both are written as annual "
            "rates, and seasons are not corrected for.",
        )
    dashes = dash_line_finding()
    return [*made, dashes] if dashes else made


def findings(comparison: xr.Dataset) -> list[dict[str, str]]:
    """Return what the inversion says about itself, the worst first."""
    order = {"refuse": 0, "warn": 1, "inform": 2}
    made: list[dict[str, str]] = json.loads(comparison.attrs.get("findings") or "[]")
    return sorted(made, key=lambda finding: order.get(finding["grade"], 3))


_DIAGNOSTICS: Final = {
    "n_obs": "observations",
    "n_state": "state elements",
    "n_boundary": "boundary terms",
    "chi2": "χ² (expected: as many as observations)",
    "J_a": "J_a, how far the state moved (expected: the degrees of freedom)",
    "dofs": "degrees of freedom for signal",
    "dofs_state": "of these, of the fluxes",
    "outliers": "residuals beyond 5 σ",
}


def diagnostics(comparison: xr.Dataset) -> list[tuple[str, str]]:
    """Return the statistics of the inversion that a reader can judge."""
    values = json.loads(comparison.attrs.get("diagnostics") or "{}")
    return [
        (label, number(values[name], 0 if float(values[name]).is_integer() else 1))
        for name, label in _DIAGNOSTICS.items()
        if name in values
    ]


def sites(comparison: xr.Dataset) -> list[tuple[str, ...]]:
    """Return what the inversion says of each site as rows of text, the head first; nothing where no sites are named."""
    made: list[dict[str, Any]] = json.loads(comparison.attrs.get("sites") or "[]")
    if not made:
        return []
    factor, plain = _NANO if made[0]["units"] == "mol mol-1" else (1.0, made[0]["units"])
    unit_name = unit(plain)
    errors = f"σ of observation and model stated, found ({unit_name})"
    head = ("site", "observations", "degrees of freedom", f"mean residual ({unit_name})", f"rms ({unit_name})", "lag-1")
    body = [
        (
            str(site["site"]),
            number(site["site_n"], 0),
            number(site["site_dofs"], 1),
            _digits(site, "site_bias", factor),
            _digits(site, "site_rms", factor),
            _digits(site, "site_lag1"),
            f"{_digits(site, 'sigma_R', factor)}, {_digits(site, 'sigma_R_found', factor)}",
            f"{_digits(site, 'left_out_skill')}, {_digits(site, 'left_out_skill_expected')}",
        )
        for site in made
    ]
    return [(*head, errors, "skill of the others there, expected"), *body]


_NANO: Final = (1e9, "nmol mol-1")


def _digits(site: dict[str, Any], name: str, factor: float = 1.0) -> str:
    """Return a number with two digits after the point, a dash where there is none."""
    return number(factor * site.get(name, float("nan")), 2)


def gas(comparison: xr.Dataset) -> str:
    """Return the gas as it is written."""
    name = str(comparison.attrs["gas"])
    return GASES.get(name, name.upper())


def lines(comparison: xr.Dataset) -> list[str]:
    """Return the table as lines of text, for a terminal; the summary stands above it."""
    resolved, unresolved, outside = rows(comparison)
    head = ("", "ledger", "inversion", "difference", "z", "seen", "verdict")
    body = [
        (row.name_en or row.code, row.inventory, row.inversion, row.difference, row.z, row.share, row.verdict)
        for row in (*resolved, *unresolved)
    ]
    widths = [max(len(cells[i]) for cells in (head, *body)) for i in range(len(head))]
    table = [
        "  ".join([cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))])
        for cells in (head, *body)
    ]
    left = (
        [f"Not compared (outside the domain): {', '.join(row.name_en or row.code for row in outside)}"]
        if outside
        else []
    )
    return [*summary(comparison), "", f"{gas(comparison)}, {unit(comparison.attrs['units'])}", *table, *left]
