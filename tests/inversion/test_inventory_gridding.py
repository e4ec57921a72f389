import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inversion import regions
from inversion.inventory.gridding import allocate, prior_covariance
from inversion.provinces import RegionError

CODES = ["CN-ZJ", "CN-JS", "CN-SH", "CN-AH"]


@pytest.fixture(scope="module")
def grid():
    return regions.fractions(np.arange(26.5, 36), np.arange(113.5, 124), codes=CODES)


@given(seed=st.integers(0, 2**32 - 1), totals=st.lists(st.floats(0.01, 1e6), min_size=4, max_size=4))
@settings(max_examples=50, deadline=None)
def test_mass_is_conserved_per_region(seed, totals):
    area = regions.fractions(np.arange(26.5, 36), np.arange(113.5, 124), codes=CODES)
    proxy = np.random.default_rng(seed).gamma(0.5, size=area.cell_area.shape)
    made = allocate(totals, area, "ch4", proxy=proxy)
    W = regions.aggregation(area, "ch4", share=made.share)
    covered = area.covered.values
    np.testing.assert_allclose(W.values @ made.flux.values.ravel(), np.array(totals) * covered, rtol=1e-12)
    # Straight from the masses, without W.
    kilograms = made.flux_of_region * area.cell_area * 0.0160425 * 365.25 * 86400
    np.testing.assert_allclose(kilograms.sum(("latitude", "longitude")) / 1e6, np.array(totals) * covered, rtol=1e-12)
    np.testing.assert_allclose(made.share.sum("country").values[made.flux.values > 0], 1.0, rtol=1e-12)


def test_a_uniform_proxy_gives_a_uniform_density_on_land_only(grid):
    made = allocate([100.0, 0.0, 0.0, 0.0], grid, "ch4")
    inside = grid.country_fraction[0].values == 1
    values = made.flux.values[inside]
    assert values.size > 2
    np.testing.assert_allclose(values, values[0], rtol=1e-12)
    area = float((grid.country_fraction[0] * grid.cell_area).sum())
    assert values[0] == pytest.approx(100e6 / (area * 0.0160425 * 365.25 * 86400), rel=1e-9)
    coastal = (grid.country_fraction[0].values > 0) & ~inside
    assert (made.flux.values[coastal] < values[0]).all()


def test_what_the_ledger_does_not_say_is_not_laid_out(grid):
    made = allocate([100.0, np.nan, 10.0, 5.0], grid, "co2")
    assert float(made.flux_of_region[1].sum()) == 0
    assert np.isfinite(made.flux.values).all()


@pytest.mark.parametrize(
    ("totals", "proxy", "sentence"),
    [
        ([1.0, 1.0, 1.0], None, "do not fit 4 regions"),
        ([1.0, 1.0, 1.0, 1.0], "negative", "negative or not finite"),
        ([1.0, 1.0, 1.0, 1.0], "zero", "zero all over CN-ZJ, CN-JS"),
        ([1.0, -1.0, 1.0, 1.0], None, "both signs"),
    ],
)
def test_refuses(grid, totals, proxy, sentence):
    field = {None: None, "negative": -np.ones(grid.cell_area.shape), "zero": np.zeros(grid.cell_area.shape)}[proxy]
    with pytest.raises(RegionError, match=sentence):
        allocate(totals, grid, "ch4", proxy=field)


def test_prior_covariance_gives_each_region_its_sigma(grid):
    made = allocate([300.0, 500.0, 40.0, 200.0], grid, "ch4")
    sigma = np.array([0.3, 0.2, 0.5, 0.4])
    B = prior_covariance(made, sigma, length_km=150.0)
    np.testing.assert_array_equal(B, B.T)
    assert np.linalg.eigvalsh(B).min() > -1e-9 * B.max()
    # One region's own emissions, drawn with that B, have its relative sigma in total.
    for r in range(4):
        alone = prior_covariance(made, np.where(np.arange(4) == r, sigma, 0.0), length_km=150.0)
        w = (made.cell_area * 0.0160425 * 365.25 * 86400 / 1e6).values.ravel()
        total = [300.0, 500.0, 40.0, 200.0][r] * float(grid.covered[r])
        assert np.sqrt(w @ alone @ w) == pytest.approx(sigma[r] * total, rel=1e-10)


def test_prior_covariance_correlates_within_a_region_by_distance_and_not_between():
    area = regions.fractions(np.arange(26.25, 36, 0.5), np.arange(113.75, 124, 0.5), codes=CODES)
    made = allocate([300.0, 500.0, 40.0, 200.0], area, "ch4")
    B = prior_covariance(made, 0.3, length_km=150.0)
    index = np.arange(area.cell_area.size).reshape(area.cell_area.shape)
    lat, lon = area.latitude.values, area.longitude.values

    def cell(a, o):
        return index[np.flatnonzero(lat == a)[0], np.flatnonzero(lon == o)[0]]

    a, b, c = cell(29.25, 119.75), cell(29.25, 120.25), cell(33.25, 119.75)  # Zhejiang twice, Jiangsu
    distance = 6371 * 2 * np.arcsin(np.cos(np.radians(29.25)) * np.sin(np.radians(0.25)))
    assert B[a, b] / np.sqrt(B[a, a] * B[b, b]) == pytest.approx(np.exp(-distance / 150.0), rel=1e-6)
    assert B[a, c] == 0


def test_other_sigma_is_added_without_correlation(grid):
    made = allocate([300.0, 500.0, 40.0, 200.0], grid, "ch4")
    plain, floored = (prior_covariance(made, 0.3, length_km=150.0, other_sigma=s) for s in (0.0, 1e-9))
    np.testing.assert_allclose(floored - plain, np.eye(len(plain)) * 1e-18, atol=1e-28)
