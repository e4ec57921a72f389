"""Differences by sector: what is told apart, what is put together, and how often a right sector is accused."""

import numpy as np
import pytest
import xarray as xr

from inversion.crosscheck import (
    CrosscheckError,
    Grouping,
    Rule,
    attribution,
    compare_arrays,
    ledgers_by_sector,
    told_apart,
)
from inversion.crosscheck.cells import cell_coords
from inversion.findings import Finding, Grade, as_text
from inversion.inventory import Entry, Inventory
from inversion.inventory.entry import InventoryError, Ledger, Period

CODES = ("CN-ZJ", "CN-JS")
SECTORS = ("coal", "gas", "rice")


def posterior_of(prior_covariance, H, R):
    """Return Ŝ and the gain of a state that is the cells themselves."""
    S = H @ prior_covariance @ H.T + R
    gain = np.linalg.solve(S, H @ prior_covariance).T
    return prior_covariance - gain @ H @ prior_covariance, gain


class World:
    """Two provinces by three sectors: coal and gas emit in one place (one column of air), rice elsewhere."""

    def __init__(self):
        self.M = np.diag([100.0, 64.0, 81.0, 100.0, 64.0, 81.0])
        self.M[0, 3] = self.M[3, 0] = 30.0
        rows = [[1, 1, 0.05, 0.2, 0.2, 0.0], [0.05, 0.05, 1, 0.0, 0.0, 0.1]]
        rows += [[0.2, 0.2, 0.0, 1, 1, 0.05], [0, 0, 0.1, 0.05, 0.05, 1]]
        self.H = np.repeat(np.array(rows), 5, axis=0)
        self.R = 25.0 * np.eye(20)
        self.S, self.gain = posterior_of(self.M, self.H, self.R)
        self.prior = np.full(6, 100.0)

    def seen(self, y):
        labels = [(code, sector) for code in CODES for sector in SECTORS]
        square = ("region", "region_cov")
        return xr.Dataset(
            {
                "prior": ("region", self.prior),
                "inversion": ("region", self.prior + self.gain @ (y - self.H @ self.prior)),
                "prior_covariance": (square, self.M),
                "inversion_covariance": (square, self.S),
            },
            cell_coords(labels, "sector"),
            {"units": "kt yr-1", "gas": "ch4", "window": "2023", "findings": "[]"},
        )


def ledgers(rate, sigma=5.0, *, notation=("", "")):
    rate = np.asarray(rate, dtype=float).reshape(2, 3)
    return {
        sector: Ledger(
            CODES, rate[:, s], np.full(2, sigma), notation if s == 0 else ("", ""), "ch4", sector, "2024", "us",
            Period.parse("2023"),
        )
        for s, sector in enumerate(SECTORS)
    }  # fmt: skip


def test_sectors_of_one_place_are_put_together_and_the_third_stands_alone():
    world = World()
    truth = np.full(6, 100.0)
    table = attribution(world.seen(world.H @ truth), ledgers(truth))
    assert table.group.values.tolist() == [["coal + gas", "coal + gas", "rice"]] * 2
    assert table.resolved.values.tolist() == [[False, False, True]] * 2
    assert (table.group_share.values > 0.9).all()
    assert (table.error_correlation.sel(sector="coal", sector_cov="gas").values < -0.8).all()
    assert table.error_correlation.dims == ("region", "sector", "sector_cov")
    # They were not correlated before: it is the air that does not tell them apart.
    np.testing.assert_allclose(table.prior_correlation.sel(sector="coal", sector_cov="gas"), 0.0)
    assert set(table.group_verdict.values.ravel()) == {"agree"}


def test_an_error_in_coal_is_found_in_coal_and_gas_together_and_nowhere_else():
    world = World()
    truth = np.full(6, 100.0)
    said = truth.copy()
    said[0] -= 40.0
    table = attribution(world.seen(world.H @ truth), ledgers(said))
    assert table.group_verdict.values.tolist() == [["higher", "higher", "agree"], ["agree", "agree", "agree"]]
    found = table.sel(region="CN-ZJ", sector="coal")
    assert float(found.group_difference / found.group_share) == pytest.approx(40.0, rel=0.05)
    # By itself coal gets less than half of it, the rest went to gas as the prior errors say.
    assert float(found.difference) < 40.0
    assert table.resolved.values[0].tolist() == [False, False, True]
    assert float(table.error_correlation.sel(region="CN-ZJ", sector="coal", sector_cov="gas")) < -0.5


def test_groups_equal_a_comparison_of_their_sums():
    world = World()
    rng = np.random.default_rng(4)
    said = 100.0 + rng.normal(size=6)
    seen = world.seen(world.H @ (100.0 + rng.normal(size=6)))
    table = attribution(seen, ledgers(said))
    P = np.kron(np.eye(2), np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    made = compare_arrays(
        P @ seen.inversion.values, P @ world.prior, covariance=P @ world.S @ P.T, prior_covariance=P @ world.M @ P.T,
        inventory=P @ said, inventory_covariance=P @ (25.0 * np.eye(6)) @ P.T,
    )  # fmt: skip
    of = np.array([0, 0, 1, 2, 2, 3])
    np.testing.assert_allclose(table.group_difference.values.ravel(), made.difference[of])
    np.testing.assert_allclose(table.group_difference_sigma.values.ravel(), np.sqrt(np.diag(made.covariance))[of])
    region = np.kron(np.eye(2), np.ones(2))
    np.testing.assert_allclose(table.region_difference, region @ made.difference)
    np.testing.assert_allclose(table.region_difference_sigma, np.sqrt(np.diag(region @ made.covariance @ region.T)))


@pytest.mark.parametrize("draws", [30, pytest.param(200, marks=pytest.mark.soak)])
def test_right_sectors_are_accused_as_often_as_the_rule_says(draws):
    world = World()
    rng = np.random.default_rng(9)
    root = np.linalg.cholesky(world.M)
    wrong = {control: [] for control in ("region", "family")}
    stated = {}
    for _ in range(draws):
        truth = world.prior + root @ rng.normal(size=6)
        seen = world.seen(world.H @ truth + 5.0 * rng.normal(size=20))
        book = ledgers(truth + 5.0 * rng.normal(size=6))
        for control, found in wrong.items():
            table = attribution(seen, book, rule=Rule(control=control))
            found.append(np.isin(table.group_verdict.values, ["higher", "lower"]).any())
            stated[control] = table.attrs["family_wise"]
    for control, found in wrong.items():
        rate, expected = np.mean(found), stated[control]
        print(f"\nsectors, {draws} twins, control {control}: any wrong verdict in {rate:.3f} (stated {expected:.3f})")
        assert rate == pytest.approx(expected, abs=3 * np.sqrt(expected * (1 - expected) / draws))


def test_what_is_told_apart():
    fine = np.diag([0.1, 0.2, 0.3])
    assert told_apart(fine, np.eye(3)) == [[0], [1], [2]]
    # Only the sum of the first two is seen, to 70 %: the correlation alone (-0.54) would leave them apart, unseen.
    weak = np.array([[0.65, -0.35], [-0.35, 0.65]])
    assert told_apart(weak, np.eye(2)) == [[0, 1]]
    # The second is not seen and would only blur the first.
    assert told_apart(np.diag([0.1, 0.98]), np.eye(2)) == [[0], [1]]
    # A small sector under a large one in the same place.
    small = np.array([[1.71, -0.81], [-0.81, 0.91]])
    assert told_apart(small, np.diag([9.0, 1.0])) == [[0, 1]]
    # Errors that go together are not told apart either.
    assert told_apart(np.array([[0.2, 0.16], [0.16, 0.2]]), np.eye(2)) == [[0, 1]]
    assert told_apart(np.array([[0.2, 0.16], [0.16, 0.2]]), np.eye(2), grouping=Grouping(correlation=0.9)) == [[0], [1]]
    with pytest.raises(CrosscheckError, match="correlation is 0"):
        Grouping(correlation=0.0)


def test_a_sector_without_a_ledger_stands_aside():
    world = World()
    rate = np.full(6, 100.0)
    rate[0] = np.nan
    table = attribution(world.seen(world.H @ world.prior), ledgers(rate, notation=("NE", "")))
    assert table.group.values.tolist() == [["coal", "gas", "rice"], ["coal + gas", "coal + gas", "rice"]]
    assert str(table.group_verdict[0, 0].item()) == "not resolved"
    assert np.isnan(table.group_difference.values[0, 0])
    assert not table.resolved.values[0, 0]


def test_ledgers_of_sectors_from_categories():
    def entry(category, value, **more):
        return Entry(region="CN-ZJ", gas="ch4", period=Period.parse("2023"), category=category, value=value, **more)

    book = Inventory((entry("1.B.1", 30.0, sigma=3.0), entry("1.B.2", 10.0, sigma=4.0), entry("3.C.7", 5.0)))
    found = ledgers_by_sector(book, CODES, {"fossil": ["1.B.1", "1.B.2"], "rice": "3.C.7"})
    np.testing.assert_allclose(found["fossil"].rate, [40.0, np.nan])
    np.testing.assert_allclose(found["fossil"].sigma, [5.0, np.nan])
    assert found["fossil"].category == "1.B.1, 1.B.2"
    assert np.isnan(found["rice"].sigma[0])
    with pytest.raises(InventoryError, match="4"):
        ledgers_by_sector(book, CODES, {"waste": "4"})


def test_totals_without_sectors_are_refused():
    world = World()
    seen = world.seen(world.H @ world.prior)
    with pytest.raises(CrosscheckError, match="no code and sector"):
        attribution(seen.drop_vars("sector"), ledgers(np.full(6, 1.0)))
    with pytest.raises(CrosscheckError, match="nothing of any sector"):
        attribution(seen, {"waste": ledgers(np.full(6, 1.0))["coal"]})


def partly(world, y, covered, **attrs):
    """The same cells, of which part of each region lies in the domain."""
    return world.seen(y).assign_coords(covered=("region", np.repeat(covered, 3))).assign_attrs(attrs)


def test_groups_by_hand_with_correlated_ledgers_partly_in_the_domain():
    """Against the formulas of `smoothing`, with the sums of the groups formed before anything else."""
    world = World()
    covered = np.array([0.5, 0.8])
    inside = np.repeat(covered, 3)
    rate = np.array([230.0, 190.0, 210.0, 120.0, 130.0, 118.0])
    rule = Rule(min_covered=0.4, sector_correlation=0.4, inventory_correlation=0.3)
    seen = partly(world, world.H @ world.prior + 3.0, covered)
    table = attribution(seen, ledgers(rate, 20.0), rule=rule)
    assert table.group.values.tolist() == [["coal + gas", "coal + gas", "rice"]] * 2
    P = np.zeros((4, 6))
    for g, members in enumerate([[0, 1], [2], [3, 4], [5]]):
        P[g, members] = 1.0
    sector, code = np.tile(np.arange(3), 2), np.repeat([0, 1], 3)
    rho = np.where(sector[:, None] == sector, 1.0, 0.4) * np.where(code[:, None] == code, 1.0, 0.3)
    D = 20.0**2 * np.outer(inside, inside) * rho
    made = compare_arrays(
        P @ seen.inversion.values,
        P @ world.prior,
        covariance=P @ world.S @ P.T,
        prior_covariance=P @ world.M @ P.T,
        inventory=P @ (rate * inside),
        inventory_covariance=P @ D @ P.T,
    )
    flat = table.isel(sector=[0, 2])
    np.testing.assert_allclose(flat.group_difference.values.ravel(), made.difference, rtol=1e-9)
    np.testing.assert_allclose(flat.group_difference_sigma.values.ravel() ** 2, np.diag(made.covariance), rtol=1e-9)
    visible = np.diag(made.kernel) * np.repeat(covered, 2)
    np.testing.assert_allclose(
        flat.group_joint_sigma.values.ravel(), np.sqrt(np.diag(made.covariance)) / visible, rtol=1e-9
    )


def test_an_inversion_that_must_not_be_used_accuses_no_sector():
    world = World()
    said = np.full(6, 100.0)
    said[2] -= 60.0
    y = world.H @ np.full(6, 100.0)
    assert "higher" in attribution(world.seen(y), ledgers(said)).group_verdict.values
    refused = as_text([Finding(Grade.REFUSE, "baseline", "The baseline cannot be.")])
    table = attribution(world.seen(y).assign_attrs(findings=refused), ledgers(said))
    assert set(table.group_verdict.values.ravel()) == {"not resolved"}


def test_cells_may_stand_in_any_order():
    world = World()
    y = world.H @ np.array([100.0, 90.0, 120.0, 80.0, 110.0, 95.0])
    seen = world.seen(y)
    other = [0, 3, 1, 4, 2, 5]
    table = attribution(seen, ledgers(np.full(6, 100.0)))
    again = attribution(seen.isel(region=other, region_cov=other), ledgers(np.full(6, 100.0)))
    xr.testing.assert_allclose(again.sel(region=table.region, sector=table.sector), table)
    with pytest.raises(CrosscheckError, match="every sector once"):
        attribution(seen.isel(region=other[:5], region_cov=other[:5]), ledgers(np.full(6, 100.0)))


def test_a_sector_may_be_called_what_it_likes():
    world = World()
    called = {"coal": "coal", "gas": "gas", "rice": "rice + reeds"}
    seen = world.seen(world.H @ world.prior)
    seen = seen.assign_coords(sector=("region", [called[name] for name in seen["sector"].values]))
    books = {called[name]: book for name, book in ledgers(np.full(6, 100.0)).items()}
    assert attribution(seen, books).resolved.sel(sector="rice + reeds").all()
