"""Natures made by factors, and `skyledger twins` on the real case."""

import numpy as np
import pytest
import typer
import xarray as xr
from typer.testing import CliRunner

from deploy.cli import twins as command
from inversion import twins
from inversion.covariance import Scaled
from inversion.twins import scaled_nature
from tests.inversion.cases import problem, random_error, random_kronecker


@pytest.mark.parametrize("make", [lambda rng: random_kronecker(rng, 4, 3), lambda rng: random_error(rng, 12)])
def test_a_scaled_covariance_is_the_scaled_matrix(make):
    rng = np.random.default_rng(0)
    C = make(rng)
    scaled, V = Scaled(C, np.sqrt(2.5)), rng.normal(size=(12, 2))
    dense = 2.5 * C.to_dense()
    near = {"rtol": 1e-10, "atol": 1e-12}
    np.testing.assert_allclose(scaled.matvec(V), dense @ V, **near)
    np.testing.assert_allclose(scaled.solve(V), np.linalg.solve(dense, V), rtol=1e-8)
    np.testing.assert_allclose(scaled.diagonal(), np.diagonal(dense), **near)
    np.testing.assert_allclose(scaled.to_dense(), dense, **near)
    np.testing.assert_allclose(scaled.aggregate(V.T), V.T @ dense @ V, **near)
    assert scaled.logdet() == pytest.approx(np.linalg.slogdet(dense)[1])
    L = scaled.sqrt().to_dense()
    np.testing.assert_allclose(L @ L.T, dense, **near)
    np.testing.assert_allclose(scaled.sqrt().solve(V), np.linalg.solve(L, V), rtol=1e-8)
    np.testing.assert_allclose(scaled.sqrt().rsolve(V), np.linalg.solve(L.T, V), rtol=1e-8)
    np.testing.assert_allclose(scaled.sqrt().matvec(V), L @ V, **near)
    np.testing.assert_allclose(scaled.sqrt().rmatvec(V), L.T @ V, **near)
    whole = np.zeros((12, 12))
    scaled.add_to(whole)
    np.testing.assert_allclose(whole, dense, **near)
    for part, piece in scaled.pieces(5):
        np.testing.assert_allclose(piece.to_dense(), dense[part, part], **near)


def test_noise_that_hangs_together_in_time():
    case, _ = problem(np.random.default_rng(0), n=20)
    case.y["time"] = ("obs", np.tile(np.datetime64("2026-01-01", "ns") + np.arange(10) * np.timedelta64(4, "h"), 2))
    nature = scaled_nature(case, noise_hours=8.0, noise_factor=2.0)
    R, sigma = nature.R.to_dense(), np.sqrt(case.R.diagonal())
    correlation = R / np.outer(sigma, sigma) / 4
    np.testing.assert_allclose(np.diagonal(correlation), 1.0)
    assert correlation[0, 1] == pytest.approx(0.99 * np.exp(-0.5))
    assert correlation[0, 10] == 0  # another site
    assert nature.name == "with noise times 2 and noise correlated over 8 h"


@pytest.mark.parametrize("factors", [{"prior_factor": 0.0}, {"noise_factor": -1.0}, {"noise_hours": 5.0}])
def test_natures_that_cannot_be(factors):
    case, _ = problem(np.random.default_rng(0))
    with pytest.raises(twins.TwinError):
        scaled_nature(case, **factors)


@pytest.fixture
def run(shared):
    app = typer.Typer(pretty_exceptions_enable=False)
    command.attach(app)
    path = shared / "data/inversion/gosan_hfc23_2022.nc"
    return lambda *arguments: CliRunner().invoke(app, [str(path), "--draws", "30", *map(str, arguments)])


def test_the_real_case_holds_in_its_own_world(run, tmp_path):
    result = run("--output", tmp_path / "twins.nc")
    assert result.exit_code == 0, result.output
    assert "30 twins, truth as the inversion assumes" in result.output
    assert "The stated σ hold" in result.output
    with xr.open_dataset(tmp_path / "twins.nc") as ds:
        assert ds.sizes["draw"] == 30
        assert ds["counted"].values.tolist() == [True, True, False, True]  # nobody sees region 2


def test_errors_that_hang_together_as_its_residuals_do_cost_the_real_case_its_coverage(run):
    result = run("--noise-hours", 12)
    assert "too small" in result.output
    assert "The inversion notices" in result.output
    assert "residual_correlation in 100%" in result.output
