"""The comparison as rows of text: what the page and the workbook's notes show, in the language of their words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import xarray as xr

from inversion.crosscheck import total
from inversion.findings import Finding, Grade, carried
from inversion.maps import dash_line_finding
from inversion.vocabulary import ENGLISH, Vocabulary
from inversion.wording import MARKS, NOTHING, decimals, number, percent, unit, window, with_sigma

_LEAKS: Final = 0.1
_CORRELATED: Final = 0.3
"""From where on leakage and correlation of errors are remarked on."""
_SEVERAL: Final = 2
GASES: Final = {"co2": "CO₂", "ch4": "CH₄", "n2o": "N₂O", "co": "CO"}


@dataclass(frozen=True, slots=True)
class Row:
    """One region of the table, written out.

    Attributes
    ----------
    verdict : str
        As the comparison has it; `word` is how it reads.
    values : dict
        The numbers behind the texts, by their variable; what is not finite is left out.
    """

    code: str
    name_zh: str
    name_en: str
    inventory: str
    prior: str
    inversion: str
    range: str
    difference: str
    implied: str
    z: str
    share: str
    detectable: str
    verdict: str
    word: str
    mark: str
    remark: str
    values: Mapping[str, float] = field(default_factory=dict)


def rows(comparison: xr.Dataset, words: Vocabulary = ENGLISH) -> tuple[list[Row], list[Row], list[Row]]:
    """Return the resolved regions, those not resolved, and those outside the domain, each in the table's order."""
    made = [_row(comparison.isel(region=i), words) for i in range(comparison.sizes["region"])]
    reasons = comparison["reason"].values
    resolved = [row for row in made if row.verdict != "not resolved"]
    outside = [
        row
        for row, reason in zip(made, reasons, strict=True)
        if row.verdict == "not resolved" and "domain" in str(reason)
    ]
    return resolved, [row for row in made if row not in resolved and row not in outside], outside


def _row(region: xr.Dataset, words: Vocabulary) -> Row:
    value = {str(name): region[name].item() for name in region.data_vars if not region[name].dims}
    names = {n: str(region[n].item()) if n in region.coords else "" for n in ("name_zh", "name_en")}
    verdict = str(value["verdict"])
    return Row(
        code=str(region["region"].item()),
        **names,
        inventory=str(value["inventory_notation"]) or with_sigma(value["inventory"], value["inventory_sigma"]),
        prior=with_sigma(value["prior"], value["prior_sigma"]),
        inversion=with_sigma(value["inversion"], value["inversion_sigma"]),
        range=_range(value, words),
        difference=with_sigma(value["difference"], value["difference_sigma"], sign=True),
        implied=_implied(value) if verdict != "not resolved" else NOTHING,
        z=number(value["z"], 1, sign=True),
        share=percent(value["share"]),
        detectable=_of_ledger(value["detectable"], value["inventory"], words),
        verdict=verdict,
        word=words.verdict(verdict),
        mark=MARKS[verdict],
        remark=_remark(region, value, words),
        values={n: float(v) for n, v in value.items() if isinstance(v, int | float) and np.isfinite(v)},
    )


def _range(value: dict[str, Any], words: Vocabulary) -> str:
    """Return lowest and highest over configurations; marked where they lie on both sides of the ledger."""
    if "inversion_low" not in value or not np.isfinite(value["inversion_low"]):
        return NOTHING
    low, high = (value[f"inversion_{end}"] for end in ("low", "high"))
    places = decimals(value["inversion_sigma"])
    text = words("row.to", low=number(low, places), high=number(high, places))
    return text if value["one_sided"] else f"{text} {BOTH_SIDES}"


BOTH_SIDES: Final = "‡"
"""Marks a range that lies on both sides of the ledger."""


def _implied(value: dict[str, Any]) -> str:
    """Return the difference as an error of the ledger, with its part of the ledger."""
    if not np.isfinite(value["ledger_difference"]):
        return NOTHING
    text = with_sigma(value["ledger_difference"], value["joint_sigma"], sign=True)
    share = value["ledger_difference"] / abs(value["inventory"]) if value["inventory"] else np.nan
    return f"{text} ({number(100 * share, 0, sign=True)} %)"


def _of_ledger(amount: float, ledger: float, words: Vocabulary) -> str:
    """Return a smallest error that would show, in percent of the ledger."""
    if not np.isfinite(amount) or not ledger:
        return NOTHING
    share = amount / abs(ledger)
    return words("row.beyond") if share > 10 else percent(share)


def _remark(region: xr.Dataset, value: dict[str, Any], words: Vocabulary) -> str:
    if value["reason"]:
        return words.sentence(str(value["reason"]))
    remarks = [words.sentence(str(value["remark"]))] if value["remark"] else []
    if "covered" in region.coords and float(region["covered"]) < 0.9995:
        remarks.append(words("row.covered", percent=number(100 * float(region["covered"]), 1)))
    if abs(value["leakage"]) >= _LEAKS and value["leakage_region"]:
        amount = number(100 * value["leakage"], 0, sign=True)
        remarks.append(words("row.leaks", amount=amount, region=value["leakage_region"]))
    if abs(value["neighbour_correlation"]) >= _CORRELATED and value["neighbour"]:
        r = number(value["neighbour_correlation"], 1, sign=True)
        remarks.append(words("row.correlated", r=r, region=value["neighbour"]))
    return words("summary.join").join(remarks)


def summary(comparison: xr.Dataset, words: Vocabulary = ENGLISH) -> list[str]:
    """Return the result in a few sentences."""
    verdicts = comparison["verdict"].values
    count = {word: int((verdicts == word).sum()) for word in MARKS}
    resolved = len(verdicts) - count.pop("not resolved")
    sentences = [words("summary.counts", all=len(verdicts), resolved=resolved, **count)]
    for word in ("higher", "lower"):
        made = [_row(comparison.isel(region=i), words) for i in np.flatnonzero(verdicts == word)]
        if made:
            named = words("summary.join").join(
                words(
                    "summary.named", region=words.name(row.name_en, row.name_zh, row.code), amount=row.implied, z=row.z
                )
                for row in made
            )
            sentences.append(words(f"summary.{word}", units=unit(comparison.attrs["units"]), named=named))
    a = comparison.attrs
    if resolved and a["control"] == "region":
        expected = number(a["expected_false_alarms"], 1)
        sentences.append(words("summary.chance", expected=expected, resolved=resolved))
    if resolved >= _SEVERAL and np.isfinite(a["family_wise"]):
        sentences.append(words("summary.family", rate=number(100 * a["family_wise"], 0), resolved=resolved))
    caution = [words.sentence(str(a["caution"]))] if a["caution"] else []
    return [*caution, *sentences, *_many_sided(comparison, words)]


def _many_sided(comparison: xr.Dataset, words: Vocabulary) -> list[str]:
    if "one_sided" not in comparison:
        return []
    resolved = comparison["verdict"].values != "not resolved"
    made = [_row(comparison.isel(region=i), words) for i in np.flatnonzero(resolved & ~comparison["one_sided"].values)]
    if not made:
        return []
    named = words("page.separator").join(words.name(row.name_en, row.name_zh, row.code) for row in made)
    return [words("summary.many_sided", count=len(made), named=named)]


def sums(comparison: xr.Dataset, words: Vocabulary = ENGLISH) -> dict[str, Any] | None:
    """Return the row of the sum over all compared regions; None where there are not two of them."""
    made = total(comparison)
    if int(made["regions"]) < _SEVERAL:
        return None
    v: dict[str, Any] = dict(made)
    verdict = str(v["verdict"])
    return {
        "regions": str(v["regions"]),
        "inventory": with_sigma(v["inventory"], v["inventory_sigma"]),
        "prior": with_sigma(v["prior"], v["prior_sigma"]),
        "inversion": with_sigma(v["inversion"], v["inversion_sigma"]),
        "difference": with_sigma(v["difference"], v["difference_sigma"], sign=True),
        "z": number(v["z"], 1, sign=True),
        "share": percent(v["share"]),
        "verdict": verdict,
        "word": words.verdict(verdict),
        "mark": MARKS[verdict],
        "values": {name: x for name, x in v.items() if isinstance(x, float) and np.isfinite(x)},
    }


def rule(comparison: xr.Dataset, words: Vocabulary = ENGLISH) -> str:
    """Return the rule of the verdicts in words."""
    a = comparison.attrs
    return words(
        f"rule.{a['control']}",
        share=f"{100 * a['min_share']:.3g}",
        covered=f"{100 * a['min_covered']:.3g}",
        critical=f"{a['critical_z']:.2f}",
        level=f"{100 * a['level']:.3g}",
    )


def assumptions(comparison: xr.Dataset, words: Vocabulary = ENGLISH) -> list[tuple[str, str]]:
    """Return what the table rests on, as name and statement."""
    a = comparison.attrs
    everything = a["category"] == "0"
    category = (
        words("assumption.all_categories") if everything else words("assumption.one_category", category=a["category"])
    )
    correlation = a["inventory_correlation"]
    shared = any(finding.code == "prior_is_inventory" for finding in findings(comparison))
    errors = (
        words("assumption.as_prior")
        if shared
        else words("assumption.together", correlation=f"{correlation:g}")
        if correlation
        else words("assumption.independent")
    )
    said = {
        "gas": words("assumption.gas_text", gas=gas(comparison), units=unit(a["units"])),
        "ledger": _ledger(a, words),
        "category": category,
        "period": str(a["ledger_period"]),
        "window": window(a["window"], words("row.to")) or words("assumption.no_window"),
        "errors": errors,
        "sigma": words("assumption.sigma_text"),
        "rule": rule(comparison, words),
    }
    return [(words(f"assumption.{name}"), text) for name, text in said.items()]


def _ledger(attrs: Mapping[str, Any], words: Vocabulary) -> str:
    source, vintage = str(attrs["ledger_source"]), str(attrs["ledger_vintage"])
    if source and vintage:
        return words("assumption.ledger_vintage", source=source, vintage=vintage)
    return source or (words("assumption.only_vintage", vintage=vintage) if vintage else words("assumption.no_source"))


def limitations(comparison: xr.Dataset, words: Vocabulary = ENGLISH) -> list[str]:
    """Return what a reader must not read into the table."""
    a = comparison.attrs
    configurations = "several_configurations" if "configurations" in a else "one_configuration"
    made = [words(f"limitation.{name}") for name in (configurations, "pattern", "kernel", "natural", "borders")]
    if a["window"] and a["window"] != a["ledger_period"]:
        made.insert(
            0, words("limitation.windows", window=window(a["window"], words("row.to")), period=a["ledger_period"])
        )
    dashes = dash_line_finding()
    return [*made, words.sentence(dashes)] if dashes else made


def findings(comparison: xr.Dataset) -> list[Finding]:
    """Return what the inversion says about itself, the worst first."""
    return sorted(carried(comparison.attrs), key=lambda finding: list(Grade).index(finding.grade))


_DIAGNOSTICS: Final = ("n_obs", "n_state", "n_boundary", "chi2", "J_a", "dofs", "dofs_state", "outliers")


def diagnostics(comparison: xr.Dataset, words: Vocabulary = ENGLISH) -> list[tuple[str, str]]:
    """Return the statistics of the inversion that a reader can judge."""
    values = json.loads(comparison.attrs.get("diagnostics") or "{}")
    return [
        (words(f"diagnostic.{name}"), number(values[name], 0 if float(values[name]).is_integer() else 1))
        for name in _DIAGNOSTICS
        if name in values
    ]


def sites(comparison: xr.Dataset, words: Vocabulary = ENGLISH) -> list[tuple[str, ...]]:
    """Return what the inversion says of each site as rows of text, the head first; nothing where no sites are named."""
    made: list[dict[str, Any]] = json.loads(comparison.attrs.get("sites") or "[]")
    if not made:
        return []
    factor, plain = _NANO if made[0]["units"] == "mol mol-1" else (1.0, made[0]["units"])
    units = unit(plain)
    head = tuple(
        words(f"site.{name}", units=units)
        for name in ("site", "observations", "dofs", "bias", "rms", "lag1", "sigma", "skill")
    )
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
    return [head, *body]


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
    head_line = f"{gas(comparison)}, {unit(comparison.attrs['units'])}; {_CAPTION}"
    return [*summary(comparison), "", head_line, *table, *_why(unresolved), *left]


_CAPTION: Final = (
    "difference: inversion minus the ledger as the inversion would have seen it (above: as an error of the ledger)"
)


def _why(unresolved: list[Row]) -> list[str]:
    """Say for regions without a verdict why they have none, those of one reason together."""
    named: dict[str, list[str]] = {}
    for row in unresolved:
        named.setdefault(row.remark, []).append(row.name_en or row.code)
    return [f"Not resolved: {', '.join(names)}: {reason}" for reason, names in named.items()]
