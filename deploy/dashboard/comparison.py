"""The latest cross-check: the table that `skyledger crosscheck` wrote to netCDF."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import xarray as xr

from deploy.dashboard import templates, wording
from deploy.errors import DeployError
from inversion.crosscheck import VERDICTS
from inversion.wording import MARKS, number, percent, window, with_sigma

_KG_PER_KT: Final = 1e6
_NEEDED: Final = (
    "crosscheck_verdict_country",
    "flux_total_inventory_country",
    "flux_total_posterior_country",
    "flux_total_prior_country",
)


@dataclass(frozen=True, slots=True)
class Source:
    """Where cross-checks lie: a file, or a folder of which the newest counts.

    Raises
    ------
    DeployError
        There is nothing at the path.
    """

    path: Path

    def __post_init__(self) -> None:
        """Look once, so that a wrong path is said before anybody visits."""
        if not self.path.exists():
            msg = f"--crosscheck {self.path}: there is no such file or folder; `skyledger crosscheck` writes one"
            raise DeployError(msg)

    def latest(self) -> Path | None:
        """Return the newest cross-check, None where there is none yet."""
        if self.path.is_file():
            return self.path
        found = sorted(self.path.glob("**/crosscheck*.nc"), key=lambda path: (path.stat().st_mtime_ns, str(path)))
        return found[-1] if found else None


def table(path: Path) -> str:
    """Return a cross-check as HTML.

    Parameters
    ----------
    path
        NetCDF of `skyledger crosscheck`.

    Raises
    ------
    DeployError
        It is no such file.
    """
    try:
        with xr.open_dataset(path, engine="netcdf4") as opened:
            ds = opened.load()
    except (OSError, ValueError) as error:
        msg = f"{path.name} cannot be read: {error}"
        raise DeployError(msg) from None
    missing = [name for name in _NEEDED if name not in ds]
    if missing:
        msg = f"{path.name} is no cross-check, it has no {', '.join(missing)}: `skyledger crosscheck` writes them"
        raise DeployError(msg)
    rows = sorted((_row(ds.isel(country=k)) for k in range(ds.sizes["country"])), key=_order)
    described = ds.attrs.get
    return templates.render(
        "crosscheck.html",
        title=str(described("title", path.name)),
        gas=wording.gas(str(described("gas", ""))),
        window=window(str(described("window", ""))),
        ledger=" ".join(str(described(name, "")) for name in ("ledger_source", "ledger_vintage")).strip(),
        state=str(described("report_state", "")),
        file=path.name,
        rows=[row for row in rows if row["verdict"] != "not resolved"],
        unresolved=[row for row in rows if row["verdict"] == "not resolved"],
    )


def _row(one: xr.Dataset) -> dict[str, Any]:
    def amount(name: str) -> tuple[float, float]:
        values = (one[f"{part}flux_total_{name}_country"] for part in ("", "stdev_") if _has(one, part, name))
        value, sigma, *_ = [*(float(np.ravel(v.values)[0]) / _KG_PER_KT for v in values), np.nan, np.nan]
        return value, sigma

    verdict = VERDICTS[int(one["crosscheck_verdict_country"])]
    notation = str(one["inventory_notation_key_country"].item()) if "inventory_notation_key_country" in one else ""
    names = [str(one[name].item()) for name in ("name_en", "name_zh") if name in one.coords or name in one]
    z = float(one["crosscheck_z_country"]) if "crosscheck_z_country" in one else np.nan
    return {
        "code": str(one["country"].item()),
        "name": " ".join(names),
        "inventory": notation or with_sigma(*amount("inventory")),
        "prior": with_sigma(*amount("prior")),
        "inversion": with_sigma(*amount("posterior")),
        "difference": with_sigma(*amount("difference"), sign=True),
        "z": number(z, 1, sign=True),
        "share": percent(float(one["crosscheck_share_country"])) if "crosscheck_share_country" in one else "",
        "verdict": verdict,
        "mark": MARKS[verdict],
        "reason": str(one["crosscheck_reason_country"].item()) if "crosscheck_reason_country" in one else "",
        "weight": abs(z) if np.isfinite(z) else -1.0,
    }


def _has(one: xr.Dataset, part: str, name: str) -> bool:
    return f"{part}flux_total_{name}_country" in one


def _order(row: dict[str, Any]) -> tuple[int, float, str]:
    """Put what differs first, the largest difference in σ before the others."""
    return ("higher", "lower", "agree", "not resolved").index(row["verdict"]), -row["weight"], row["code"]
