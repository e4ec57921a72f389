"""From electricity and annual reports to a warning: the whole walk, on made-up truths."""

import numpy as np
import pytest
import xarray as xr

from inversion.covariance import Dense, Diagonal
from inversion.crosscheck import totals
from inversion.inventory import Entry, Inventory, Period
from inversion.inventory.balance import Activity, Balance
from inversion.inventory.express import express, months
from inversion.problem import Problem
from inversion.solve import batch
from inversion.warning import Rule, by_month, rolling

CODES = ("CN-ZJ", "CN-JS", "CN-SH", "CN-AH")
YEARS = 12
OF = months("2010", f"{2010 + YEARS - 1}")
LAST = OF[-12:]
RULE = Rule(level=0.05, months=4, spans=(1, 3))


def truths(rng):
    """Electricity [GWh] and emissions [kt] by region and month: a relation with an error that grows with activity."""
    number = np.arange(len(OF))
    root = np.linalg.cholesky(0.7 ** np.abs(np.subtract.outer(number, number)))
    shape = (len(CODES), len(OF))
    yearly = np.exp(0.05 * rng.normal(size=(len(CODES), YEARS)).cumsum(axis=1)).repeat(12, axis=1)
    activity = 1000 * yearly * (1 + 0.1 * np.sin(2 * np.pi * number / 12))
    return activity, activity * 0.8 * (1 + 0.05 * (rng.normal(size=shape) @ root.T))


def ledgers(rng, activity, emission):
    """Annual reports of all years but the last, and electricity as it is published: the year so far."""
    entries, cells = [], []
    for code, used, emitted in zip(CODES, activity, emission, strict=True):
        for i in range(YEARS):
            year = slice(12 * i, 12 * i + 12)
            if i < YEARS - 1:
                sigma = 0.03 * emitted[year].sum()
                value = emitted[year].sum() + sigma * rng.normal()
                entries.append(
                    Entry(region=code, gas="co2", period=Period.parse(str(2010 + i)), value=value, sigma=sigma)
                )
            cells += [
                Activity(region=code, period=Period(OF[12 * i].start, OF[12 * i + n].end), sector="0",
                         fuel="electricity", value=used[year][: n + 1].sum(), unit="GWh")
                for n in range(1, 12)
            ]  # fmt: skip
    return Inventory(tuple(entries)), Balance(tuple(cells))


def windows(rng, emission, estimates):
    """Three-month windows of a rolling inversion of region totals, each with its prior, over four months."""
    days = np.array([month.days for month in LAST])
    rates = emission[:, -12:] * 365.25 / days  # kt yr-1
    H = rng.uniform(0, 1, (12, 12, len(CODES)))
    noise = 0.2 * rates.mean() * rng.normal(size=(12, 12))
    prior_sigma = 0.3 * rates.mean()
    prior = rates + prior_sigma * rng.normal(size=rates.shape)
    for end in range(6, 10):
        inside = np.arange(end - 2, end + 1)
        problem = Problem(
            y=np.concatenate([H[t] @ rates[:, t] + noise[t] for t in inside]),
            H=np.block([[H[t] if t == s else np.zeros_like(H[t]) for s in inside] for t in inside]),
            R=Diagonal(np.full(36, (0.2 * rates.mean()) ** 2)),
            x_a=prior[:, inside].T.ravel(),
            B=Dense(prior_sigma**2 * np.eye(3 * len(CODES))),
            y_units="nmol mol-1",
            x_units="mol m-2 s-1",
        )
        names = [str(LAST[t]) for t in inside]
        W = xr.DataArray(
            np.tile(np.eye(len(CODES)), 3), dims=("region", "state"), coords={"region": list(CODES)},
            attrs={"units": "kt yr-1", "gas": "co2"},
        )  # fmt: skip
        rows = by_month(W, np.repeat(names, len(CODES)), names)
        yield totals(batch(problem), rows), estimates.regions(CODES, "0", [LAST[t] for t in inside])


def year(seed, error=1.0):
    """Return the warnings of one year; the last months' electricity says `error` times what was used."""
    rng = np.random.default_rng(seed)
    activity, emission = truths(rng)
    said = activity.copy()
    said[0, -12:] *= error
    annual, electricity = ledgers(rng, said, emission)
    return rolling(windows(rng, emission, express(annual, electricity, vintage="x")), RULE)


def rates(draws, error=1.0):
    tables = [year(seed, error) for seed in range(draws)]
    z = np.array([table.z.values for table in tables])
    return np.array([table.first_warning.values != "" for table in tables]), z


def test_a_year_without_cause_has_no_warning_and_electricity_that_is_wrong_has():
    quiet, z = rates(12)
    assert quiet.any(axis=1).sum() <= 3  # of 12 at 5 %: four or more have a probability of 0.2 %
    assert 0.6 <= z.std() <= 1.4
    loud, _ = rates(4, error=0.4)
    assert loud[:, 0].all()


@pytest.mark.soak
def test_false_alarms_of_the_whole_walk():
    quiet, z = rates(200)
    print(f"\nfamily-wise {quiet.any(axis=1).mean():.3f} at {RULE.level}; z {z.mean():+.3f} ± {z.std():.3f}")
    assert quiet.any(axis=1).mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)
    assert z.std() == pytest.approx(1.0, abs=0.15)
