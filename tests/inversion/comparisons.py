"""Comparisons and series to make reports of."""

import json

import numpy as np
import xarray as xr

from inversion import report
from inversion.crosscheck import compare
from inversion.inventory.entry import Ledger, Period
from inversion.provinces import PROVINCES
from inversion.report import page
from inversion.vocabulary import ENGLISH

CODES = ("CN-ZJ", "CN-JS", "CN-SH", "CN-AH", "CN-JX", "CN-XJ")
SCRIPT = "<script>alert(1)</script>"
STATIONS = [report.Station("临安", 30.3, 119.7), report.Station("Nanjing $x$", 32.1, 118.8)]


def made_comparison(*, name_zh=None, source="Bureau", findings=()):
    units = {u.iso: u for u in PROVINCES}
    k = len(CODES)
    M = np.diag(np.array([100.0, 150, 40, 120, 90, 0]) ** 2)
    M[0, 1] = M[1, 0] = 0.3 * 100 * 150
    S = M * 0.04
    S[3, 3] = 0.9 * M[3, 3]
    totals = xr.Dataset(
        {
            "prior": ("region", [800.0, 1500, 200, 1400, 1200, 0]),
            "inversion": ("region", [1234.5, 1480, 205, 1410, 1150, 0]),
            "prior_covariance": (("region", "region_cov"), M),
            "inversion_covariance": (("region", "region_cov"), S),
        },
        coords={
            "region": list(CODES),
            "region_cov": list(CODES),
            "gbt2260": ("region", [units[c].gbt2260 for c in CODES]),
            "name_zh": ("region", list(name_zh or [units[c].name_zh for c in CODES])),
            "name_en": ("region", [units[c].name_en for c in CODES]),
            "covered": ("region", [1.0, 1.0, 0.98, 1.0, 1.0, 0.0]),
        },
        attrs={
            "units": "kt yr-1",
            "gas": "ch4",
            "window": "2023-07-01/2023-07-14",
            "findings": json.dumps(list(findings)),
            "diagnostics": json.dumps({"n_obs": 480, "chi2": 501.25}),
        },
    )
    rate = np.array([800.0, 1500, 200, 1400, np.nan, 300])
    sigma = np.array([100.0, 150, 40, 120, np.nan, 60])
    assert k == len(rate)
    ledger = Ledger(CODES, rate, sigma, ("", "", "", "", "NE", ""), "ch4", "0", "2024", source, Period.parse("2023"))
    return compare(totals, ledger)


def made_series(n=60, *, units="mol mol-1"):
    time = np.datetime64("2023-07-01", "ns") + np.arange(n) * np.timedelta64(4, "h")
    values = 1.95e-6 + 5e-8 * np.sin(np.arange(n))
    variables = {
        name: ("time", values + shift)
        for name, shift in [("mf_observed", 0), ("mf_prior", 2e-8), ("mf_posterior", 1e-9)]
    }
    variables["mf_bc_posterior"] = ("time", np.full(n, 1.9e-6))
    variables["stdev_mf_total"] = ("time", np.full(n, 1e-8))
    series = xr.Dataset(variables, coords={"time": time}, attrs={"site": "Lin'an 50m"})
    series["mf_observed"].attrs["units"] = units
    return series


def rendered(comparison, *, title="t", notes=(), imprint=None, words=ENGLISH):
    table = report.Table(comparison=comparison)
    annex = report.Annex(title=title, tables=(table,), notes=tuple(notes), imprint=imprint or report.Imprint())
    return page.render(annex, words)
