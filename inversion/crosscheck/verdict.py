"""The rule by which a region gets its verdict, and why some get none."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import norm

from inversion.crosscheck.smoothing import CrosscheckError, Floats, with_covariance
from inversion.findings import CONSISTENCY, Grade, carried, refusal
from inversion.inventory.entry import NOTATION_KEYS, Ledger
from inversion.multiplicity import adjusted, any_beyond

VERDICTS: Final = ("agree", "higher", "lower", "not resolved")
"""``higher``: the sky holds more than the ledger says."""
NOT_RESOLVED: Final = VERDICTS[3]
CONTROLS: Final = ("region", "family")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When a verdict is given, and which.

    Attributes
    ----------
    level : float
        Two-sided. By `control`: the share of regions with a right ledger that get ``higher`` or ``lower`` all the
        same, or the probability that any region does.
    min_share : float
        Smallest share seen (diagonal of Γ) at which a region counts as resolved.
    min_covered : float
        Smallest part of a region's area inside the domain.
    inventory_correlation : float
        Correlation of the ledger's errors between regions (the same emission factors: above 0).
    period_correlation, sector_correlation : float
        The same between periods (`trends`) and between sectors (`attribution`).
    inventory_is_prior : bool, optional
        The inversion started from this very ledger: their errors are one, and hang together between regions as the
        prior's do. None: where all totals are the same.
    control : {"region", "family"}
        ``family``: Holm's procedure over all resolved regions.
    """

    level: float = 0.05
    min_share: float = 0.5
    min_covered: float = 0.95
    inventory_correlation: float = 0.0
    period_correlation: float = 0.0
    sector_correlation: float = 0.0
    inventory_is_prior: bool | None = None
    control: str = "region"

    def __post_init__(self) -> None:
        faults = [
            f"{name} is {getattr(self, name)}: expected {bounds}."
            for name, bounds, fine in (
                ("level", "a number between 0 and 1", 0 < self.level < 1),
                ("min_share", "a number from 0 to 1", 0 <= self.min_share <= 1),
                ("min_covered", "a number from 0 to 1", 0 <= self.min_covered <= 1),
                *(
                    (name, "a number from 0 to below 1", 0 <= getattr(self, name) < 1)
                    for name in ("inventory_correlation", "period_correlation", "sector_correlation")
                ),
                ("control", " or ".join(CONTROLS), self.control in CONTROLS),
            )
            if not fine
        ]
        if faults:
            raise CrosscheckError("The rule", faults)

    @property
    def critical_z(self) -> float:
        """|z| beyond which ledger and sky differ, of one test by itself."""
        return NormalDist().inv_cdf(1.0 - self.level / 2.0)

    def first_critical_z(self, tests: int) -> float:
        """Return the |z| that the largest of so many must pass for any verdict other than agree."""
        return self.critical_z if self.control == "region" else float(norm.isf(self.level / (2 * max(1, tests))))

    def __str__(self) -> str:
        when = (
            f"A region is resolved when the network saw at least {100 * self.min_share:.3g} % of it and at least "
            f"{100 * self.min_covered:.3g} % of its area lies in the domain; then "
        )
        if self.control == "family":
            return when + (
                "Holm's procedure over all resolved regions says higher (the sky has more than the ledger) or lower, "
                "anything else is agree. With all ledgers right the probability that any region is called higher or "
                f"lower is at most {100 * self.level:.3g} % (two-sided)."
            )
        return when + (
            f"|z| > {self.critical_z:.2f} means higher (the sky has more than the ledger) or lower, anything else "
            f"agree. Of resolved regions whose ledger is right, {100 * self.level:.3g} % are called higher or lower by "
            "chance (two-sided)."
        )


class Decided(NamedTuple):
    """Verdicts of several regions, and how often they err."""

    p: Floats
    """Two-sided (k,); NaN where nothing is resolved."""
    p_adjusted: Floats
    """For their number, where the rule controls the family (k,)."""
    words: list[str]
    family_wise: float
    """Probability of any ``higher`` or ``lower`` with all ledgers right, from the covariance of the differences."""


def decide(z: Floats, covariance: Floats, resolved: NDArray[np.bool_], rule: Rule) -> Decided:
    """Return the verdicts of regions.

    Parameters
    ----------
    z : array (k,)
        d / σ(d).
    covariance : array (k, k)
        Cov d, of which the family-wise rate follows.
    resolved : array (k,) of bool
    rule : Rule

    Returns
    -------
    Decided
    """
    tested = resolved & np.isfinite(z)
    p = np.where(tested, 2.0 * norm.sf(np.abs(z)), np.nan)
    stepped = adjusted(p) if rule.control == "family" else p
    words = [
        NOT_RESOLVED if np.isnan(one) else "agree" if one > rule.level else "higher" if value > 0 else "lower"
        for one, value in zip(stepped, z, strict=True)
    ]
    wrong = any_beyond(covariance[np.ix_(tested, tested)], rule.first_critical_z(int(tested.sum())))
    return Decided(p, stepped, words, wrong)


def verdict(z: float, critical_z: float) -> str:
    """Return the verdict of a resolved region by itself."""
    if abs(z) <= critical_z:
        return "agree"
    return "higher" if z > 0 else "lower"


def objections(seen: xr.Dataset) -> list[str]:
    """Return the rules by which the inversion notices that its own errors or transport are not as it assumes."""
    codes = {f.code for f in carried(seen.attrs) if f.grade in (Grade.WARN, Grade.REFUSE)}
    return [code for code in CONSISTENCY if code in codes]


def caution(seen: xr.Dataset) -> str:
    """Return what must stand above verdicts of an inversion whose own statistics do not hold; "" where they do."""
    codes = objections(seen)
    if not codes:
        return ""
    return (
        f"{len(codes)} of {len(CONSISTENCY)} rules object to the inversion itself ({', '.join(codes)}): its errors or "
        "its transport are not what it assumes. Its σ may be too small; higher or lower may then be the transport's "
        "error and not the ledger's, and more often than the rule says."
    )


REMARK: Final = "rests on an inversion whose own statistics do not hold"
"""What is said beside ``higher`` and ``lower`` under a caution."""


def remarks(words: list[str], said: str) -> list[str]:
    """Return what is to be said beside each verdict."""
    return [REMARK if said and word in ("higher", "lower") else "" for word in words]


def unseen(share: float, needed: float, what: str = "it") -> str:
    """Say that too little was seen."""
    return f"the network saw {100 * max(share, 0.0):.0f} % of {what}, {100 * needed:.3g} % are needed"


def reasons(seen: xr.Dataset, ledger: Ledger, share: Floats, rule: Rule) -> list[str]:
    """Say for every region why it has no verdict; "" where it has one."""
    refused = refusal(carried(seen.attrs))
    size = share.size
    covered = seen["covered"].values if "covered" in seen.coords else np.ones(size)
    known = with_covariance(seen["inversion_covariance"].values + seen["prior_covariance"].values)

    def first(i: int) -> str:
        keys = [f"{key} ({NOTATION_KEYS[key]})" for key in ledger.notation[i].split(",") if key]
        cases = (
            (bool(refused), f"the inversion must not be used: {refused}"),
            (covered[i] == 0, "outside the domain"),
            (covered[i] < rule.min_covered, f"only {100 * covered[i]:.0f} % of its area lies in the domain"),
            (bool(keys), f"the ledger says {', '.join(keys)}"),
            (np.isnan(ledger.rate[i]), "the ledger has no entry"),
            (np.isnan(ledger.sigma[i]), "the ledger states no uncertainty"),
            (not known[i], "the inversion gives no covariance"),
            (
                not share[i] >= rule.min_share,
                unseen(share[i], rule.min_share),
            ),
        )
        return next((sentence for applies, sentence in cases if applies), "")

    return [first(i) for i in range(size)]
