"""Fluxes and mole fractions in the names of PARIS, against what the state says cell by cell."""

import numpy as np
import pytest
import xarray as xr

from inversion import solve
from inversion.assemble import Baseline, Block, ErrorModel, Sector, Stream, assemble, basis, information, paris
from inversion.datasets import CONCENTRATION, FLUX
from inversion.errors import AssemblyError
from inversion.regions import SECONDS_PER_YEAR, cell_area
from inversion.report import netcdf
from qc.schema import require
from qc.units import MOLAR_MASS
from tests.inversion.pieces import GRID, HOUR, LATITUDE, LONGITUDE, START, flux, footprints, observations

DAY = 24 * HOUR


@pytest.fixture(scope="module")
def solved():
    obs = observations(96)
    one = Stream("ch4", "in situ", obs, footprints(obs), ErrorModel(5.0))
    a, b = Sector("oil & gas", "ch4", flux()), Sector("rice", "ch4", flux(seed=9), sigma=0.3)
    tree = basis.quadtree(information([one], [a]), 6)
    edges = START + np.array([0, 3, 7]) * DAY
    parts = [
        Block((a,), tree, edges, length_km=200.0, length_days=9.0),
        Block((b,), basis.cells(GRID), edges[[0, 2]], length_km=150.0),
    ]
    assembled = assemble([one], parts, {"ch4": Baseline(1940.0, 20.0)}, name="a case")
    return assembled, solve.batch(assembled.problem)


def test_fields_are_scalings_times_fluxes(solved, monkeypatch):
    assembled, posterior = solved
    ds = paris.fluxes(assembled, posterior, "ch4")
    require(ds, FLUX)
    np.testing.assert_array_equal(ds["time_bnds"].values[:, 0], START + np.array([0, 3]) * DAY)
    first, second = assembled.blocks
    x, S, B = posterior.mean.values, posterior.covariance().values, assembled.problem.B.to_dense()
    for t in range(2):
        W = np.zeros((80, 92))
        W[:, 6 * t : 6 * t + 6] = first.sectors[0].flux.values.ravel()[:, None] * first.basis.weights.toarray().T
        alone = W.copy()
        W[:, 12:] = np.diag(second.sectors[0].flux.values.ravel())
        np.testing.assert_allclose(ds["flux_total_posterior"].values[t].ravel(), W @ x, rtol=1e-10)
        np.testing.assert_allclose(ds["flux_total_prior"].values[t].ravel(), W.sum(axis=1), rtol=1e-10)
        sigma = ds["stdev_flux_total_posterior"].values[t].ravel()
        np.testing.assert_allclose(sigma, np.sqrt(np.diag(W @ S @ W.T)), rtol=1e-8)
        np.testing.assert_allclose(
            ds["stdev_flux_total_prior"].values[t].ravel(), np.sqrt(np.diag(W @ B @ W.T)), rtol=1e-8
        )
        np.testing.assert_allclose(ds["flux_oil_gas_posterior"].values[t].ravel(), alone @ x, rtol=1e-10)
    # Taken in batches where there are many states it is the same.
    monkeypatch.setattr(paris, "_WHOLE", 3)
    monkeypatch.setattr(paris, "_BATCH", 7)
    xr.testing.assert_allclose(paris.fluxes(assembled, posterior, "ch4"), ds, rtol=1e-8)
    with pytest.raises(AssemblyError, match="No sector emits co2"):
        paris.fluxes(assembled, posterior, "co2")


def test_regions_have_totals_with_their_covariance(solved, tmp_path):
    assembled, posterior = solved
    share = np.zeros((2, 8, 10))
    share[0, :4], share[1, 4:] = 1.0, 0.5
    regions = xr.Dataset(
        {
            "country_fraction": (("country", "latitude", "longitude"), share),
            "cell_area": cell_area(LATITUDE, LONGITUDE),
        },
        {"country": ["CN-A", "CN-B"], **GRID.coords},
    )
    ds = paris.fluxes(assembled, posterior, "ch4", regions=regions)
    require(ds, FLUX)
    mass = regions["cell_area"].values * MOLAR_MASS["ch4"] * SECONDS_PER_YEAR
    for t in range(2):
        expected = (share * mass * ds["flux_total_posterior"].values[t]).sum(axis=(1, 2))
        np.testing.assert_allclose(ds["flux_total_posterior_country"].values[:, t], expected, rtol=1e-9)
    covariance = ds["covariance_flux_total_posterior_country"].values[:, :, 0]
    np.testing.assert_allclose(covariance, covariance.T, rtol=1e-9)
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), ds["stdev_flux_total_posterior_country"].values[:, 0])
    assert (ds["stdev_flux_total_posterior_country"] < ds["stdev_flux_total_prior_country"]).all()
    with xr.open_dataset(netcdf.write(ds, tmp_path / "flux.nc")) as stored:
        require(stored.load(), FLUX)


def test_mole_fractions_by_observation(solved, tmp_path):
    assembled, posterior = solved
    ds = paris.concentrations(assembled, posterior, "ch4")
    require(ds, CONCENTRATION)
    np.testing.assert_allclose(ds["mf_observed"], assembled.problem.y.values * 1e-9, rtol=1e-12)
    np.testing.assert_allclose(ds["mf_posterior"], posterior.fitted.values * 1e-9, rtol=1e-12)
    np.testing.assert_allclose(ds["mf_bc_posterior"], posterior.baseline.values * 1e-9, rtol=1e-12)
    assert ds["platform"].values.tolist() == ["aaa", "bbb"]
    assert ds["number_of_identifier"].values.tolist() == [0] * 96 + [1] * 96
    assert ds["altitude"].values[[0, -1]].tolist() == [60.0, 110.0]
    with xr.open_dataset(netcdf.write(ds, tmp_path / "mf.nc")) as stored:
        require(stored.load(), CONCENTRATION)
    with pytest.raises(AssemblyError, match="co2 was not observed"):
        paris.concentrations(assembled, posterior, "co2")
