"""The known truth of the demonstration: a ledger, the emissions as they really are, and the air they make.

Every number here is invented. The true emissions are drawn around the ledger with the errors the ledger
itself states, except for one province, whose published entry is then lowered by a stated multiple of the joint σ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import xarray as xr

from deploy.demo import weather
from deploy.demo.instrument import Air
from deploy.demo.network import SITES, Site
from inversion import Problem, crosscheck, regions
from inversion.covariance import Dense, Diagonal, Kronecker, temporal
from inversion.inventory import gridding
from inversion.inventory.entry import Entry, Inventory, Period
from inversion.observations import solar_hour

GAS: Final = "ch4"
LEDGER_KT: Final = {
    "CN-BJ": 170, "CN-TJ": 150, "CN-HE": 1450, "CN-SX": 2600, "CN-NM": 2100, "CN-LN": 1050, "CN-SH": 210,
    "CN-JS": 1520, "CN-ZJ": 820, "CN-AH": 1480, "CN-FJ": 640, "CN-JX": 1250, "CN-SD": 1880, "CN-HA": 1840,
    "CN-HB": 1430, "CN-HN": 1690, "CN-SN": 1180, "CN-CQ": 690, "CN-GZ": 1300,
    "CN-NX": 420, "CN-GS": 700, "CN-SC": 1900, "CN-GX": 1200,
}  # fmt: skip
"""Invented provincial CH4 totals, kt a year."""
RELATIVE_SIGMA: Final = 0.10
"""What the ledger states as the σ of each of them."""
ERROR_LENGTH_KM: Final = 120.0
"""How far errors of the emissions inside a province hang together."""
PLANTED_SIGMAS: Final = 3.0
"""The planted error, in joint σ of inventory and inversion."""
PERIOD_DAYS: Final = 3.5
PERIOD_LENGTH_DAYS: Final = 30.0
OTHER_SIGMA: Final = 1e-9
"""mol m-2 s-1: what may come from the sea or from beyond the border."""
MODEL_SIGMA: Final = 8e-9
"""mol mol-1: what an hour differs from the model by, transport and representation."""
BASELINE: Final = 1940e-9
BASELINE_SIGMA: Final = 10e-9
BASELINE_KNOT_HOURS: Final = 42
WELL_COVERED: Final = 0.95
"""Provinces of which this share lies in the grid are compared."""
DAYTIME: Final = (10.0, 18.0)
"""Local solar hours whose observations are used."""
YEAR: Final = 2025
BETWEEN: Final = 4
"""Outside of daytime footprints are computed for every hour of this number, and lie on a line between."""
Told = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Domain:
    """The grid, its provinces, and the window in time.

    ``periods`` counts the emission periods; ``fractions`` is what `regions.fractions` returned.
    """

    start: np.datetime64
    hours: int
    fractions: xr.Dataset
    proxy: np.ndarray

    @property
    def grid(self) -> xr.Dataset:
        """Cell centres."""
        return self.fractions[["latitude", "longitude"]]

    @property
    def periods(self) -> int:
        """Number of emission periods."""
        return max(1, round(self.hours / 24 / PERIOD_DAYS))

    def period_of(self, time: np.ndarray) -> np.ndarray:
        """Return the period each time falls in."""
        share = (time - self.start) / np.timedelta64(self.hours, "h")
        return np.clip((share * self.periods).astype(int), 0, self.periods - 1)

    @property
    def compared(self) -> list[str]:
        """Codes of the provinces that lie (nearly) wholly in the grid."""
        inside = self.fractions["covered"].values >= WELL_COVERED
        return [str(code) for code in self.fractions["country"].values[inside]]


def domain(start: np.datetime64, days: int, rng: np.random.Generator) -> Domain:
    """Return the grid over eastern China, 0.5 degrees, with a proxy of where methane comes from."""
    latitude, longitude = np.arange(26.75, 43.0, 0.5), np.arange(108.25, 124.0, 0.5)
    fractions = regions.fractions(latitude, longitude, codes=list(LEDGER_KT))
    proxy = np.full((latitude.size, longitude.size), 0.25)
    for _ in range(60):
        y, x, width = rng.uniform(26.5, 43), rng.uniform(108, 124), rng.uniform(0.3, 1.0)
        distance = (latitude[:, None] - y) ** 2 + (longitude - x) ** 2
        proxy += rng.uniform(0.5, 3.0) * np.exp(-distance / (2 * width**2))
    return Domain(start.astype("datetime64[ns]"), 24 * days, fractions, proxy)


@dataclass(frozen=True, slots=True)
class Prior:
    """What is believed before the sky is asked: gridded ledger, covariance, and the sums per province."""

    ledger: Inventory
    x_a: xr.DataArray
    B: Kronecker
    W: xr.DataArray


def ledger(kilotonnes: dict[str, float]) -> Inventory:
    """Return a provincial ledger with its stated σ."""
    entries = [
        Entry(
            region=code,
            category="0",
            gas=GAS,
            period=Period.parse(str(YEAR)),
            value=value,
            sigma=RELATIVE_SIGMA * LEDGER_KT[code],
            source="invented for the demonstration",
            vintage=f"{YEAR}-draft",
        )
        for code, value in kilotonnes.items()
    ]
    return Inventory(tuple(entries))


def prior(place: Domain, book: Inventory) -> Prior:
    """Return the prior that a ledger makes."""
    codes = [str(code) for code in place.fractions["country"].values]
    values = {entry.region: entry for entry in book.entries}
    totals = np.array([values[code].value for code in codes])
    sigma = np.array([values[code].sigma for code in codes])
    gridded = gridding.allocate(totals, place.fractions, GAS, proxy=place.proxy)
    space = gridding.prior_covariance(gridded, sigma / totals, length_km=ERROR_LENGTH_KM, other_sigma=OTHER_SIGMA)
    middle = (np.arange(place.periods) + 0.5) * place.hours / 24 / place.periods
    weights = np.full(place.periods, 1 / place.periods)
    time = temporal(middle, length_days=PERIOD_LENGTH_DAYS)
    W = regions.aggregation(place.fractions, GAS, share=gridded["share"].values, periods=weights)
    # The mean over the window carries less of the error than one period does: scaled so that totals keep their σ.
    spread = float(weights @ time.to_dense() @ weights)
    x_a = xr.DataArray(
        np.tile(gridded["flux"].values.ravel(), place.periods), dims="state", attrs={"units": "mol m-2 s-1"}
    )
    W.attrs["window"] = f"{place.start}/{place.start + np.timedelta64(place.hours, 'h')}"
    return Prior(book, x_a, Kronecker(time, Dense(space / spread)), W.sel(region=place.compared))


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Receptors (hour by inlet) and what they see: ``H`` (receptor, state), ``H_b`` (receptor, knot)."""

    receptors: xr.Dataset
    H: np.ndarray
    H_b: np.ndarray


def sensitivity(place: Domain, told: Told = lambda *_: None, sites: tuple[Site, ...] = SITES) -> Sensitivity:
    """Return what every inlet sees in every hour.

    By particles in the hours the inversion uses and in every `BETWEEN` th beside; the others lie between these.
    """
    hours = place.start + (np.arange(place.hours) * 3600 + 1800) * np.timedelta64(10**9, "ns")
    inlets = [(site, height) for site in sites for height in site.heights]
    each = [np.repeat(values, place.hours) for values in zip(
        *[(s.name, s.inlet(h), s.longitude, s.latitude, h) for s, h in inlets], strict=True)]  # fmt: skip
    receptors = xr.Dataset(
        {name: ("receptor", np.asarray(values)) for name, values in
         zip(("site", "inlet", "longitude", "latitude", "height"), each, strict=True)}
        | {"time": ("receptor", np.tile(hours, len(inlets)))}
    )  # fmt: skip
    srr = _interpolated(receptors, place, told).reshape(receptors.sizes["receptor"], -1)
    period = place.period_of(receptors["time"].values)
    H = np.zeros((len(srr), place.periods, srr.shape[1]))
    H[np.arange(len(srr)), period] = srr
    return Sensitivity(receptors, H.reshape(len(srr), -1), baseline(place, receptors["time"].values))


def _interpolated(receptors: xr.Dataset, place: Domain, told: Told) -> np.ndarray:
    """Return srr (receptor, latitude, longitude), linear in time between the hours it is computed for."""
    clock = np.tile(np.arange(place.hours), receptors.sizes["receptor"] // place.hours)
    computed = well_mixed(receptors) | (clock % BETWEEN == 0) | (clock == place.hours - 1)
    rows = np.flatnonzero(computed)
    known = weather.footprints(receptors.isel(receptor=rows), place.grid, lambda more: told(more, rows.size))
    srr = np.empty((clock.size, *known.shape[1:]), dtype=np.float32)
    for first in range(0, clock.size, place.hours):
        here = (rows >= first) & (rows < first + place.hours)
        at = rows[here] - first
        above = np.clip(np.searchsorted(at, np.arange(place.hours)), 1, at.size - 1)
        share = (np.arange(place.hours) - at[above - 1]) / (at[above] - at[above - 1])
        each = known[here]
        srr[first : first + place.hours] = each[above - 1] + share[:, None, None] * (each[above] - each[above - 1])
    return srr


def baseline(place: Domain, time: np.ndarray) -> np.ndarray:
    """Return the weights (time, knot) of a baseline that is a straight line between knots."""
    knots = np.arange(0, place.hours + BASELINE_KNOT_HOURS, BASELINE_KNOT_HOURS, dtype=float)
    since = (time - place.start) / np.timedelta64(3600 * 10**9, "ns")
    return np.stack([np.interp(since, knots, row) for row in np.eye(knots.size)], axis=1)


def problem(before: Prior, seen: Sensitivity, rows: np.ndarray, y: Any, variance: np.ndarray) -> Problem:
    """Return the inverse problem of some receptors (`rows`), their values and error variances, mol mol-1."""
    knots = seen.H_b.shape[1]
    return Problem(
        y=y,
        H=seen.H[rows],
        R=Diagonal(variance),
        x_a=before.x_a,
        B=before.B,
        H_b=seen.H_b[rows],
        b_a=np.full(knots, BASELINE),
        B_b=Diagonal(np.full(knots, BASELINE_SIGMA**2)),
        y_units="mol mol-1",
        x_units="mol m-2 s-1",
        b_units="mol mol-1",
        name="CH4 over eastern China, demonstration",
    )


def well_mixed(receptors: xr.Dataset) -> np.ndarray:
    """Return which receptors lie in the hours the inversion uses."""
    hour = solar_hour(receptors["time"].values, receptors["longitude"].values)
    return (hour >= DAYTIME[0]) & (hour < DAYTIME[1])


@dataclass(frozen=True, slots=True)
class World:
    """The truth, and what is published about it.

    ``air`` holds what each site's inlets breathe; ``totals`` the true kt a year; ``planted`` the province whose
    published entry is wrong, by ``planted_kt``, which is ``PLANTED_SIGMAS`` times ``joint_kt``.
    """

    place: Domain
    seen: Sensitivity
    published: Prior
    totals: xr.DataArray
    planted: str
    planted_kt: float
    joint_kt: float
    air: dict[str, Air]
    hours: xr.Dataset


def make(start: np.datetime64, days: int, rng: np.random.Generator, told: Told = lambda *_: None) -> World:
    """Return a world: draw the truth, plant the error, make the air.

    Parameters
    ----------
    start, days
        The window; whole days UTC.
    rng
        Draws everything.
    told : callable (more, all) -> None
        Hears how many more footprints are computed, and how many there are.
    """
    place = domain(start, days, rng)
    honest = prior(place, ledger({code: float(value) for code, value in LEDGER_KT.items()}))
    seen = sensitivity(place, told)
    truth = honest.x_a.values + honest.B.sqrt().matvec(rng.standard_normal(honest.x_a.size))
    totals = xr.DataArray(honest.W.values @ truth, dims="region", coords={"region": honest.W["region"]})
    rows = np.flatnonzero(well_mixed(seen.receptors))
    published, planted, joint = _plant(place, seen, rows, honest, totals)
    planted_kt = PLANTED_SIGMAS * joint
    knots = BASELINE + rng.normal(0, BASELINE_SIGMA, seen.H_b.shape[1])
    ch4 = seen.H @ truth + seen.H_b @ knots + rng.normal(0, MODEL_SIGMA, len(seen.H))
    hours = seen.receptors.assign(ch4=("receptor", ch4))
    return World(place, seen, published, totals, planted, planted_kt, joint, _air(place, hours, rng), hours)


def _plant(
    place: Domain, seen: Sensitivity, rows: np.ndarray, honest: Prior, totals: xr.DataArray
) -> tuple[Prior, str, float]:
    """Lower the entry of the province the network sees best; the joint σ moves a little with it, so repeat."""
    design = crosscheck.Design(
        H=seen.H[rows],
        R=Diagonal(np.full(rows.size, MODEL_SIGMA**2)),
        B=honest.B,
        H_b=seen.H_b[rows],
        B_b=Diagonal(np.full(seen.H_b.shape[1], BASELINE_SIGMA**2)),
    )
    sigma = np.array([RELATIVE_SIGMA * LEDGER_KT[str(code)] for code in honest.W["region"].values])
    power = crosscheck.joint_sigma(design, honest.W, sigma)
    planted = str(power["share"].idxmax().item())
    book = {code: float(value) for code, value in LEDGER_KT.items()}
    for _ in range(3):
        joint = float(power["joint_sigma"].sel(region=planted))
        book[planted] = float(totals.sel(region=planted)) - PLANTED_SIGMAS * joint
        published = prior(place, ledger(book))
        power = crosscheck.joint_sigma(replace(design, B=published.B), published.W, sigma)
    return published, planted, joint


def _air(place: Domain, hours: xr.Dataset, rng: np.random.Generator) -> dict[str, Air]:
    """Return what the inlets of each site breathe; CO2 goes along with CH4, with a day's breath of its own."""
    clock = np.arange(place.hours)
    water = 1.4 + 0.4 * np.sin(2 * np.pi * clock / 24) + rng.normal(0, 0.05, place.hours)
    air = {}
    for site in SITES:
        own = hours["ch4"].values[hours["site"].values == site.name].reshape(len(site.heights), place.hours).T
        co2 = 428.0 + 0.05e9 * (own - BASELINE) + 4.0 * np.sin(2 * np.pi * clock / 24)[:, None]
        air[site.name] = Air(int(place.start.astype("datetime64[s]").astype(int)), co2, 1e9 * own, water)
    return air
