"""The real case, HFC-23 at Gosan 2022: against plain numpy written here, its unit fault, its findings, its command."""

import json

import numpy as np
import pytest
import typer
import xarray as xr
from typer.testing import CliRunner

from deploy.cli import invert
from inversion import solve
from inversion.datasets import POSTERIOR
from inversion.errors import CaseError
from inversion.findings import Grade
from inversion.openghg import read_case
from inversion.solve.batch import FORMS
from qc.schema import require


@pytest.fixture(scope="module")
def path(shared):
    return shared / "data/inversion/gosan_hfc23_2022.nc"


@pytest.fixture(scope="module")
def posterior(path):
    return solve.batch(read_case(path).problem())


@pytest.fixture(scope="module")
def plain(path):
    """Rodgers' formulas with inverses, on the file's own numbers."""
    with xr.open_dataset(path) as ds:
        y, error = ds["Yobs"].values, ds["Yerror"].values
        H = np.hstack([ds["xsensitivity"].values, ds["bcsensitivity"].values * 1e12])
    B = np.diag([1.0**2] * 4 + [0.05**2] * 48)
    S = H @ B @ H.T + np.diag(error**2 + 2.6271304**2)
    K = B @ H.T @ np.linalg.inv(S)
    d = y - H.sum(axis=1)
    z = 1 + K @ d
    return {
        "mean": z,
        "covariance": B - K @ H @ B,
        "A": K @ H,
        "chi2": d @ np.linalg.solve(S, d),
        "J_a": (z - 1) ** 2 @ (1 / np.diag(B)),
    }


@pytest.mark.parametrize("form", FORMS)
def test_it_equals_plain_numpy(path, plain, form):
    # 2.6271304 is the file's 2.627130358854702 rounded: 2e-8 of it.
    posterior = solve.batch(read_case(path, model_error=2.6271304).problem(), form=form)
    np.testing.assert_allclose(posterior.mean, plain["mean"][:4], rtol=1e-8)
    np.testing.assert_allclose(posterior.boundary, plain["mean"][4:], rtol=1e-8)
    np.testing.assert_allclose(posterior.covariance(), plain["covariance"][:4, :4], rtol=1e-8, atol=1e-11)
    np.testing.assert_allclose(posterior.averaging_kernel(np.eye(4)), plain["A"][:4, :4], rtol=1e-8, atol=1e-11)
    d = posterior.diagnostics
    assert d.chi2 == pytest.approx(plain["chi2"], rel=1e-8)
    assert d.J_a == pytest.approx(plain["J_a"], rel=1e-8)
    assert d.dofs == pytest.approx(np.trace(plain["A"]), rel=1e-8)


def test_the_file_s_own_model_error_gives_the_same(posterior, plain):
    np.testing.assert_allclose(posterior.mean, plain["mean"][:4], rtol=1e-6)


def test_the_factor_of_1e12_is_noticed_and_named(posterior):
    (finding,) = [f for f in posterior.findings if f.code == "boundary_units"]
    assert "mol mol-1" in finding.sentence
    assert "1e+12" in finding.sentence
    assert 33 < float(posterior.problem.baseline().median()) < 38  # pmol mol-1


def test_a_sound_result_carries_the_three_findings(posterior):
    found = {f.code: f for f in posterior.findings if f.grade is Grade.WARN}
    assert {"residual_correlation", "prior_fit", "not_resolved"} <= set(found)
    (site,) = posterior.diagnostics.sites
    assert site.lag1 == pytest.approx(0.5, abs=0.03)
    assert posterior.diagnostics.J_a / posterior.diagnostics.dofs == pytest.approx(0.47, abs=0.01)
    assert posterior.seen.values[2] < 0.01
    assert "region 2" in found["not_resolved"].sentence
    assert not [f for f in posterior.findings if f.grade is Grade.REFUSE]


def test_time_correlation_in_r_takes_the_correlation_of_residuals_away(path, posterior):
    """What the finding advises: with R correlated over 12 hours whitened residuals follow one another less."""
    from inversion.covariance import Dense  # noqa: PLC0415  used here alone

    case = read_case(path)
    problem = case.problem()
    hours = (case.y["time"].values - case.y["time"].values[0]) / np.timedelta64(1, "h")
    correlated = case.model_error[:, None] * case.model_error * np.exp(-np.abs(hours[:, None] - hours) / 6)
    problem.R = Dense(correlated + np.diag(case.y_error**2), name="R")
    after = solve.batch(problem)
    assert abs(after.diagnostics.sites[0].lag1) < 0.5 * posterior.diagnostics.sites[0].lag1
    assert (after.stdev().values >= posterior.stdev().values).all()


def changed(path, tmp_path, change):
    with xr.open_dataset(path) as ds:
        copy = change(ds.load())
    copy.to_netcdf(tmp_path / "case.nc")
    return tmp_path / "case.nc"


def test_consistent_boundary_terms_are_left_alone(path, tmp_path, plain):
    right = changed(path, tmp_path, lambda ds: ds.assign(bcsensitivity=ds["bcsensitivity"] * 1e12))
    case = read_case(right)
    assert "boundary_units" not in [f.code for f in case.findings]
    np.testing.assert_allclose(solve.batch(case.problem()).mean, plain["mean"][:4], rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda ds: ds.assign(bcsensitivity=ds["bcsensitivity"] * 40), "no unit of a mole fraction"),
        (
            lambda ds: ds.assign(xsensitivity=(ds["xsensitivity"] * 1e-12).assign_attrs(units="1e-12 mol/mol")),
            "not in the same",
        ),
        (
            lambda ds: ds.assign(xsensitivity=ds["xsensitivity"].assign_attrs(units="mol/mol")),
            "'xsensitivity' is in 'mol/mol'",
        ),
        (lambda ds: ds.assign(Yobs=ds["Yobs"].drop_attrs()), "'Yobs' has the units None"),
        (lambda ds: ds.drop_vars(["Yerror", "sitenames"]), "Yerror, sitenames"),
        (lambda ds: ds.drop_vars("min_model_error"), "model_error="),
    ],
)
def test_a_wrong_file_is_refused_in_words(path, tmp_path, change, words):
    with pytest.raises(CaseError, match=words):
        read_case(changed(path, tmp_path, change))


@pytest.fixture
def run():
    app = typer.Typer(pretty_exceptions_enable=False)
    invert.attach(app)
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


def test_the_command(run, path, tmp_path):
    result = run(path, "--output", tmp_path / "out.nc")
    assert result.exit_code == 0, result.output
    for part in (
        "2.324 ± 0.129",
        "1.282 ± 0.106",
        "1.028 ± 1.000",
        "0.920 ± 0.304",
        "1235.8",
        "23.27",
        "lag-1",
        "1e+12",
    ):
        assert part in result.output
    with xr.open_dataset(tmp_path / "out.nc") as ds:
        require(ds, POSTERIOR)
        np.testing.assert_allclose(ds["state_posterior"].values, [2.3236, 1.2820, 1.0280, 0.9201], atol=1e-4)
        assert ds["finding"].size == 8
        assert [f["grade"] for f in json.loads(ds.attrs["findings"])] == ["warn"] * 4 + ["inform"] * 4


def test_the_command_s_options(run, path):
    assert "0.100" in run(path, "--sigma-x", 0.1).output
    assert "observation-space" in run(path, "--form", "observation").output


@pytest.mark.parametrize("name", ["inversion/regions_eastasia.nc", "README.md", "absent.nc"])
def test_the_command_on_a_wrong_file(run, shared, name):
    result = run(shared / "data" / name)
    assert isinstance(result.exception, CaseError)
    assert "\n" not in str(result.exception)
