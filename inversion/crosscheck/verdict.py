"""The rule by which a region gets its verdict, and why some get none."""

from __future__ import annotations

import json
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
import xarray as xr

from inversion.crosscheck.smoothing import CrosscheckError, Floats, with_covariance
from inversion.findings import Grade
from inversion.inventory.entry import NOTATION_KEYS, Ledger

VERDICTS: Final = ("agree", "higher", "lower", "not resolved")
"""``higher``: the sky holds more than the ledger says."""
NOT_RESOLVED: Final = VERDICTS[3]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When a verdict is given, and which.

    Attributes
    ----------
    level : float
        Two-sided: the share of regions with a right ledger that get ``higher`` or ``lower`` all the same.
    min_share : float
        Smallest share seen (diagonal of Γ) at which a region counts as resolved.
    min_covered : float
        Smallest part of a region's area inside the domain.
    inventory_correlation : float
        Correlation of the ledger's errors between regions (the same emission factors: above 0).
    """

    level: float = 0.05
    min_share: float = 0.5
    min_covered: float = 0.95
    inventory_correlation: float = 0.0

    def __post_init__(self) -> None:
        faults = [
            f"{name} is {getattr(self, name)}: expected {bounds}."
            for name, bounds, fine in (
                ("level", "a number between 0 and 1", 0 < self.level < 1),
                ("min_share", "a number from 0 to 1", 0 <= self.min_share <= 1),
                ("min_covered", "a number from 0 to 1", 0 <= self.min_covered <= 1),
                ("inventory_correlation", "a number from 0 to below 1", 0 <= self.inventory_correlation < 1),
            )
            if not fine
        ]
        if faults:
            raise CrosscheckError("The rule", faults)

    @property
    def critical_z(self) -> float:
        """|z| beyond which ledger and sky differ."""
        return NormalDist().inv_cdf(1.0 - self.level / 2.0)

    def __str__(self) -> str:
        return (
            f"A region is resolved when the network saw at least {100 * self.min_share:.3g} % of it and at least "
            f"{100 * self.min_covered:.3g} % of its area lies in the domain; then |z| > {self.critical_z:.2f} means "
            "higher (the sky has more than the ledger) or lower, anything else agree. Of resolved regions whose ledger "
            f"is right, {100 * self.level:.3g} % are called higher or lower by chance (two-sided)."
        )


def verdict(z: float, critical_z: float) -> str:
    """Return the verdict of a resolved region."""
    if abs(z) <= critical_z:
        return "agree"
    return "higher" if z > 0 else "lower"


def _unseen(share: float, needed: float) -> str:
    return f"the network saw {100 * max(share, 0.0):.0f} % of it, {100 * needed:.3g} % are needed"


def reasons(seen: xr.Dataset, ledger: Ledger, share: Floats, rule: Rule) -> list[str]:
    """Say for every region why it has no verdict; "" where it has one."""
    refusal = [f["sentence"] for f in json.loads(seen.attrs.get("findings") or "[]") if f["grade"] == Grade.REFUSE]
    size = share.size
    covered = seen["covered"].values if "covered" in seen.coords else np.ones(size)
    known = with_covariance(seen["inversion_covariance"].values + seen["prior_covariance"].values)

    def first(i: int) -> str:
        keys = [f"{key} ({NOTATION_KEYS[key]})" for key in ledger.notation[i].split(",") if key]
        cases = (
            (bool(refusal), f"the inversion must not be used: {' '.join(refusal)}"),
            (covered[i] == 0, "outside the domain"),
            (covered[i] < rule.min_covered, f"only {100 * covered[i]:.0f} % of its area lies in the domain"),
            (bool(keys), f"the ledger says {', '.join(keys)}"),
            (np.isnan(ledger.rate[i]), "the ledger has no entry"),
            (np.isnan(ledger.sigma[i]), "the ledger states no uncertainty"),
            (not known[i], "the inversion gives no covariance"),
            (
                not share[i] >= rule.min_share,
                _unseen(share[i], rule.min_share),
            ),
        )
        return next((sentence for applies, sentence in cases if applies), "")

    return [first(i) for i in range(size)]
