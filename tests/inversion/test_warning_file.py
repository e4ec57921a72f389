"""The walk of the early warning: an inversion by months, its flux file, express estimates, warnings."""

import functools
import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest
import xarray as xr

from inversion import solve, twins
from inversion.assemble import Baseline, Block, ErrorModel, Sector, Stream, assemble, basis, by_period, paris
from inversion.crosscheck import CrosscheckError, read_periods, totals
from inversion.inventory import Entry, Inventory, Period, delimited
from inversion.inventory.balance import Activity, Balance
from inversion.inventory.express import express, months
from inversion.regions import cell_area
from inversion.report import netcdf
from inversion.warning import Rule, outlook, rolling, windows
from inversion.warning.windows import months_of, observed, whole_months
from tests.inversion.pieces import GRID, LATITUDE, LONGITUDE, flux, footprints, observations

CODES = ("CN-ZJ", "CN-JS", "CN-SH", "CN-AH")
SITES = {"a": (110.2, 28.1, 50.0), "b": (115.6, 28.4, 100.0), "c": (110.4, 32.0, 80.0), "d": (115.8, 32.2, 60.0)}
YEARS = 12
OF = months("2010", f"{2010 + YEARS}")[: 12 * YEARS]
SPREAD = 0.2
"""Relative σ of months of the truth about the prior, e-folding in 60 days."""


class World(NamedTuple):
    assembled: object
    posterior: object
    regions: xr.Dataset
    rates: np.ndarray
    """Prior totals (region,), kt yr-1."""


@functools.cache
def world():
    """A year of months over four regions with a station in each."""
    start = np.datetime64(f"{2010 + YEARS - 1}-01-01", "ns")
    edges = (start.astype("datetime64[M]") + np.arange(13)).astype("datetime64[ns]")
    obs = observations(144, sites=SITES, value=1950.0)
    obs = obs.assign_coords(time=("obs", np.tile(start + np.arange(144) * np.timedelta64(60, "h"), len(SITES))))
    one = Stream("ch4", "in situ", obs, footprints(obs, scale=0.1), ErrorModel(3.0))
    part = 2 * (np.arange(8)[:, None] > 3) + (np.arange(10) > 4)
    mask = xr.DataArray(np.array(CODES)[part], GRID.coords, GRID.coords.dims)
    block = Block((Sector("all", "ch4", flux(), sigma=SPREAD),), basis.mask(mask), edges, length_days=60.0)
    assembled = assemble([one], [block], {"ch4": Baseline(1940.0, 20.0)}, name="months")
    regions = xr.Dataset(
        {
            "country_fraction": (
                ("country", "latitude", "longitude"), np.array([part == k for k in range(4)], float),
            ),
            "cell_area": cell_area(LATITUDE, LONGITUDE),
        },
        {"country": list(CODES), "covered": ("country", np.ones(4)), **GRID.coords},
    )  # fmt: skip
    posterior = solve.batch(assembled.problem)
    W = by_period(assembled, "ch4", regions)
    return World(assembled, posterior, regions, posterior.prior_total(W).values.reshape(4, 12)[:, 0])


def order():
    """Return the place of (region, month) in the state."""
    x = world().assembled.problem.x_a
    names = list(dict.fromkeys(x["period"].values.tolist()))
    place = {(r, p): i for i, (r, p) in enumerate(zip(x["region"].values, x["period"].values, strict=True))}
    return np.array([[place[code, name] for name in names] for code in CODES])


def papers(rng, scaling, error=1.0):
    """Annual reports of all years but the last, and electricity, from emissions that end with the year of the twin."""
    days = np.array([month.days for month in OF]) / 365.25
    drift = np.exp(0.05 * rng.normal(size=(4, YEARS)).cumsum(axis=1)).repeat(12, axis=1)
    rate = world().rates[:, None] * drift
    rate[:, -12:] = world().rates[:, None] * scaling
    emission = rate * days
    number = np.arange(len(OF))
    root = np.linalg.cholesky(0.7 ** np.abs(np.subtract.outer(number, number)))
    used = emission / (0.8 * (1 + 0.05 * (rng.normal(size=emission.shape) @ root.T)))
    used[0, -12:] *= error
    entries, cells = [], []
    for code, emitted, power in zip(CODES, emission, used, strict=True):
        for i in range(YEARS):
            year = slice(12 * i, 12 * i + 12)
            if i < YEARS - 1:
                sigma = 0.03 * float(emitted[year].sum())
                value = float(emitted[year].sum()) + sigma * float(rng.normal())
                period = Period.parse(str(2010 + i))
                entries.append(Entry(region=code, gas="ch4", period=period, value=value, sigma=sigma))
            cells += [
                Activity(region=code, period=Period(OF[12 * i].start, OF[12 * i + n].end), sector="0",
                         fuel="electricity", value=float(power[year][: n + 1].sum()), unit="GWh")
                for n in range(12)
            ]  # fmt: skip
    return Inventory(tuple(entries)), Balance(tuple(cells))


def books(rng, scaling, error=1.0):
    """Return the estimates that follow from them."""
    return express(*papers(rng, scaling, error), vintage="x", gas="ch4")


def drawn(rng):
    """Return the scalings of a truth (region, month) and what stations see of it."""
    problem = world().assembled.problem
    (draw,) = twins.Nature().draw(problem, 1, rng)
    return draw.x[order(), 0], draw.y


def written(posterior, folder):
    ds = paris.fluxes(world().assembled, posterior, "ch4", regions=world().regions)
    return netcdf.write(ds, folder / "flux.nc")


def warned(rng, rule, error=1.0, length=12):
    scaling, y = drawn(rng)
    (twin,) = twins.replay(world().posterior, y)
    seen = totals(twin, by_period(world().assembled, "ch4", world().regions))
    return rolling(windows(seen, books(rng, scaling, error), length=length), rule)


@pytest.mark.parametrize("draws", [5, pytest.param(200, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])])
def test_a_year_without_cause_has_as_few_warnings_as_the_rule_says(draws):
    rule = Rule()
    tables = [warned(np.random.default_rng(seed), rule) for seed in range(draws)]
    year = np.mean([(table.first_warning.values != "").any() for table in tables])
    raised = np.array([np.isin(table.warning.values, ["higher", "lower"]) for table in tables])
    tested = np.array([np.isfinite(table.p.values) for table in tables])
    z = np.concatenate([table.z.values[np.isfinite(table.p.values)] for table in tables])
    print(
        f"\n{draws} years of 4 regions by 12 months: any warning without cause in {year:.3f} of years (stated at most "
        f"0.05), in {raised.any(axis=3).mean():.4f} of regions by months; {tested[0].sum()} tests a year, "
        f"|z| > 1.96 in {np.mean(np.abs(z) > 1.96):.3f} of them"
    )
    assert tested.mean() > 0.3
    assert year <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / draws)
    # σ of express estimates from eleven annual reports are on the safe side.
    assert (0.75 if draws == 200 else 0.6) < z.std() < 1.1


def test_electricity_that_is_wrong_is_warned_of():
    tables = [warned(np.random.default_rng(seed), Rule(), error=0.6) for seed in range(3)]
    assert all(table.first_warning.values[0] for table in tables)
    assert all("more than the express estimate of CN-ZJ" in table.attrs["warnings"] for table in tables)
    # What leaks through the averaging kernel is of the other sign, and can be warned of as well.
    assert not any("more than the express estimate of CN-AH" in table.attrs["warnings"] for table in tables)


def test_the_file_of_an_inversion_gives_the_warnings_of_its_posterior(tmp_path):
    rng = np.random.default_rng(3)
    scaling, y = drawn(rng)
    (twin,) = twins.replay(world().posterior, y)
    stored = read_periods(written(twin, tmp_path))
    assert whole_months(stored) == [str(month) for month in OF[-12:]]
    estimates = books(rng, scaling, error=0.6)
    W = by_period(world().assembled, "ch4", world().regions)
    both = [rolling(windows(seen, estimates, length=6, fewest=3)) for seen in (stored, totals(twin, W))]
    for name in ("z", "share", "p_adjusted"):
        np.testing.assert_allclose(both[0][name], both[1][name], rtol=1e-6, atol=1e-9)
    assert both[0].month.values.tolist() == [str(month) for month in OF[-10:]]
    assert both[0].attrs["warnings"] == both[1].attrs["warnings"] != ""
    assert both[0].attrs["caution"] == ""


def on_paper(folder, annual, electricity):
    """Write the annual reports and the electricity as teams have them."""
    delimited.write(annual, folder / "annual.csv")
    lines = ["region,period,sector,fuel,value,unit"]
    lines += [f"{a.region},{a.period},{a.sector},{a.fuel},{a.value!r},{a.unit}" for a in electricity.activities]
    (folder / "power.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def skyledger(*arguments, folder):
    command = [sys.executable, "-m", "deploy", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=120, check=False)


def test_the_command_says_what_the_library_says(tmp_path):
    rng = np.random.default_rng(3)
    scaling, y = drawn(rng)
    (twin,) = twins.replay(world().posterior, y)
    path = written(twin, tmp_path)
    annual, electricity = papers(rng, scaling, error=0.6)
    on_paper(tmp_path, annual, electricity)
    files = ["--annual", "annual.csv", "--indicators", "power.csv"]
    said = skyledger("warn", path.name, *files, "--output", "out/tests.nc", folder=tmp_path)
    assert said.returncode == 0, said.stderr
    table = rolling(windows(read_periods(path), express(annual, electricity, vintage="now", gas="ch4")))
    for line in table.attrs["warnings"].splitlines():
        assert line in said.stdout
    assert "92 tests of 4 regions" in said.stdout
    with xr.open_dataset(tmp_path / "out" / "tests.nc") as stored:
        np.testing.assert_allclose(stored["z"], table["z"], rtol=1e-6, atol=1e-9)
    few = skyledger("warn", path.name, *files, "--outlook", "3", folder=tmp_path)
    assert few.returncode == 1
    assert "12 finite values" in few.stderr
    other = skyledger("warn", path.name, *files, "--carrier", "coal", folder=tmp_path)
    assert other.returncode == 1
    assert "coal" in other.stderr
    absent = skyledger("warn", path.name, *files, "--category", "1.A", folder=tmp_path)
    assert absent.returncode == 1
    assert "of category 0, asked for is 1.A" in absent.stderr
    nowhere = skyledger("warn", path.name, *files[:2], "--indicators", "none.csv", folder=tmp_path)
    assert "'none.csv' does not exist" in nowhere.stderr
    assert "Traceback" not in few.stderr + other.stderr + absent.stderr + nowhere.stderr


def test_with_another_transport_the_warning_says_so(tmp_path):
    rng = np.random.default_rng(4)
    scaling, _ = drawn(rng)
    problem = world().assembled.problem
    other = twins.Nature(
        name="with other footprints",
        H=np.asarray(problem.H.rows(slice(0, problem.n_obs))) * np.exp(0.7 * rng.normal(size=(problem.n_obs, 1))),
    )
    (draw,) = other.draw(problem, 1, rng)
    (twin,) = twins.replay(world().posterior, draw.y)
    seen = read_periods(written(twin, tmp_path))
    table = rolling(windows(seen, books(rng, scaling)))
    assert "rules object to the inversion itself (chi2" in table.attrs["caution"]


def covered(series, seed):
    """Truths of a structural series of 60 months, observed month by month through an inversion; six to come."""
    rng = np.random.default_rng(seed)
    n, steps = 60, 6
    names = (np.datetime64("2019-01", "M") + np.arange(n)).astype(str)
    lag = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    M = 900.0 * (0.5 * np.ones((n, n)) + 0.5 * 0.8**lag)
    inside = []
    for i in range(series):
        level = 100 + 0.3 * np.arange(n + steps) + np.cumsum([0.1, 0.6, 1.2][i % 3] * rng.normal(size=n + steps))
        season = 6 * np.sin(2 * np.pi * np.arange(n + steps) / 12)
        truth = level + season + rng.normal(size=n + steps)
        R = np.diag(rng.uniform(1, 16, n))
        prior = np.full(n, 95.0)
        K = np.linalg.solve(M + R, M).T
        y = truth[:n] + np.sqrt(np.diag(R)) * rng.normal(size=n)
        square = ("region", "region_cov")
        seen = xr.Dataset(
            {
                "prior": ("region", prior),
                "inversion": ("region", prior + K @ (y - prior)),
                "prior_covariance": (square, M),
                "inversion_covariance": (square, M - K @ M),
            },
            {"code": ("region", ["CN-A"] * n), "period": ("region", names), "region": names, "region_cov": names},
            {"units": "kt yr-1", "gas": "ch4"},
        )
        made = outlook(seen, steps=steps)
        inside.append((truth[n:] >= made.lower.values[0]) & (truth[n:] <= made.upper.values[0]))
    return np.mean(inside, axis=0)


@pytest.mark.parametrize("series", [20, pytest.param(200, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])])
def test_the_outlook_covers_what_it_says(series):
    share = covered(series, 5)
    print(f"\n{series} series of 60 months through an inversion: inside the 95 % interval 1 to 6 months ahead {share}")
    # A little wide where the noise of the inversion hides how much the series itself changes.
    low, high = (0.93, 0.99) if series == 200 else (0.85, 1.0)
    assert low <= share.mean() <= high


def test_what_the_observations_alone_say_is_the_posterior_without_its_prior():
    """Information adds up: Ŝ⁻¹ = M⁻¹ + N⁻¹, and Ŝ⁻¹ t̂ = M⁻¹ t_a + N⁻¹ y."""
    rng = np.random.default_rng(2)
    root = rng.normal(size=(5, 8))
    M, N, t_a, y = root @ root.T, np.diag(rng.uniform(1, 9, 5)), rng.normal(size=5), rng.normal(size=5)
    S = np.linalg.inv(np.linalg.inv(M) + np.linalg.inv(N))
    mean = S @ (np.linalg.solve(M, t_a) + np.linalg.solve(N, y))
    square = ("region", "region_cov")
    cells = xr.Dataset(
        {
            "prior": ("region", t_a),
            "inversion": ("region", mean),
            "prior_covariance": (square, M),
            "inversion_covariance": (square, S),
        }
    )
    value, spread, share = observed(cells)
    np.testing.assert_allclose(value, y, rtol=1e-8)
    np.testing.assert_allclose(spread, N, rtol=1e-7, atol=1e-9)
    assert share == pytest.approx(np.mean(1 - np.diag(S) / np.diag(M)))


def test_the_outlook_says_which_months_and_leaves_out_what_was_not_seen():
    n = 36
    names = (np.datetime64("2021-07", "M") + np.arange(n)).astype(str)
    labels = [(code, name) for code in ("CN-A", "CN-B") for name in names]
    S = np.diag(np.r_[np.ones(n), np.full(n, 99.0)])
    value = np.r_[50 + np.arange(n), np.full(n, 10.0)]
    seen = xr.Dataset(
        {
            "prior": ("region", np.full(2 * n, 40.0)),
            "inversion": ("region", value),
            "prior_covariance": (("region", "region_cov"), 100.0 * np.eye(2 * n)),
            "inversion_covariance": (("region", "region_cov"), S),
        },
        {"code": ("region", [c for c, _ in labels]), "period": ("region", [m for _, m in labels])},
        {"units": "kt yr-1"},
    )
    made = outlook(seen, steps=2)
    assert made.month.values.tolist() == ["2024-07", "2024-08"]
    assert float(made["mean"][0, 0]) == pytest.approx(86.0, abs=2.0)
    assert np.isnan(made["mean"].values[1]).all()
    assert float(made.seen_share[1]) == pytest.approx(0.01)
    with pytest.raises(CrosscheckError, match="Months are missing after 2022-01"):
        whole_months(seen.isel(region=[i for i in range(2 * n) if i % n != 7]))
    with pytest.raises(CrosscheckError, match="no calendar months"):
        whole_months(seen.assign_coords(period=("region", ["2024"] * (2 * n))))
    assert months_of(seen, names[:2]).sizes == {"region": 4, "region_cov": 4}
