"""Figures hold what they were given, say their units, and refuse in words what they cannot draw."""

import functools
import itertools

import cartopy.crs as ccrs
import matplotlib as mpl
import numpy as np
import pytest
import xarray as xr

from inversion import Problem, plot, solve, twins
from inversion.covariance import Diagonal, OrnsteinUhlenbeck
from inversion.plot import ground
from inversion.resolution import resolution
from tests.inversion import twin_world


@functools.cache
def solved():
    """The network of the twin experiments, observing one truth; posterior, W, truth of the totals."""
    problem, W, _ = twin_world.case()
    draw = next(twins.Nature().draw(problem, 1, np.random.default_rng(1)))
    parts = {name: getattr(problem, name) for name in ("H", "R", "x_a", "B", "H_b", "b_a", "B_b")}
    world = Problem(y=problem.y.copy(data=draw.y[:, 0]), b_units="mol mol-1", name="made up", **parts)
    return solve.batch(world), W, W.values @ draw.x[:, 0]


def on_grid(values, units="mol m-2 s-1"):
    place = twin_world.fractions()
    shape = twin_world.PERIODS, place.sizes["latitude"], place.sizes["longitude"]
    coords = {name: place[name] for name in ("latitude", "longitude")}
    return xr.DataArray(values.reshape(shape).mean(axis=0), coords, ("latitude", "longitude"), attrs={"units": units})


def drawn(figure, *, at=0):
    """Draw it; its axes."""
    figure.canvas.draw()
    return figure.axes[at]


def words(figure):
    return [t.get_text() for axes in figure.axes for t in (*axes.texts, axes.xaxis.label, axes.yaxis.label, axes.title)]


def overlapping(axes, which):
    """Neighbouring tick labels that run into each other."""
    renderer = axes.figure.canvas.get_renderer()
    labels = [t.label1 for t in getattr(axes, f"{which}axis").get_major_ticks() if t.label1.get_text()]
    boxes = [label.get_window_extent(renderer) for label in labels if label.get_visible()]
    return [i for i, (a, b) in enumerate(itertools.pairwise(boxes)) if a.overlaps(b)]


def test_a_map_has_the_cells_in_their_places_with_the_prefix_of_their_size():
    flux = on_grid(np.abs(solved()[0].problem.x_a.values))
    figure = plot.flux(flux, stations={"Lin'an": (119.73, 30.30)}, title="CH₄", name="CH₄ flux")
    axes = drawn(figure)
    mesh = next(one for one in axes.collections if isinstance(one, mpl.collections.QuadMesh))
    np.testing.assert_allclose(np.ma.filled(mesh.get_array(), 0.0).ravel(), 1e9 * flux.values.ravel())
    assert "CH₄ flux [nmol m⁻² s⁻¹]" in words(figure)
    assert "Lin'an" in words(figure)
    assert mesh.norm.vmin == 0


def test_what_may_be_below_zero_has_a_scale_about_zero():
    posterior, _, _ = solved()
    figure = plot.difference(on_grid(posterior.mean.values), on_grid(posterior.problem.x_a.values))
    mesh = next(one for one in drawn(figure).collections if isinstance(one, mpl.collections.QuadMesh))
    assert mesh.norm.vmin == -mesh.norm.vmax
    assert mesh.norm.vcenter == 0


def test_the_uncertainty_reduction_is_that_of_the_stated_sigmas():
    posterior, _, _ = solved()
    after, before = on_grid(posterior.stdev().values), on_grid(posterior.prior_stdev().values)
    mesh = next(
        one
        for one in drawn(plot.uncertainty_reduction(after, before)).collections
        if isinstance(one, mpl.collections.QuadMesh)
    )
    np.testing.assert_allclose(mesh.get_array().ravel(), 100 * (1 - after.values / before.values).ravel())


@pytest.mark.parametrize(
    ("longitude", "latitude", "kind"),
    [
        ((108, 124), (27, 43), ccrs.AlbersEqualArea),
        ((-10, 30), (36, 60), ccrs.AlbersEqualArea),
        ((100, 125), (-10, 10), ccrs.LambertCylindrical),
        ((-60, -20), (65, 83), ccrs.LambertAzimuthalEqualArea),
        ((-180, 180), (-80, 80), ccrs.EqualEarth),
    ],
)
def test_the_projection_is_equal_area_and_chosen_by_the_region(longitude, latitude, kind):
    plane = ground.projection(longitude, latitude)
    assert isinstance(plane, kind)

    def area(x, y):
        box = plane.transform_points(ccrs.PlateCarree(), np.array([x - 1, x + 1, x]), np.array([y, y, y + 1.0]))
        (a, b), (c, d) = box[1, :2] - box[0, :2], box[2, :2] - box[0, :2]
        return abs(a * d - b * c)

    middle = np.mean(longitude)
    south, north = np.quantile(latitude, [0.25, 0.7])
    ratio = np.cos(np.radians(south + 0.5)) / np.cos(np.radians(north + 0.5))
    assert area(middle, south) / area(middle, north) == pytest.approx(ratio, rel=0.03)


def test_every_part_of_the_world_can_be_drawn():
    for west, east, south, north in [(-10, 30, 36, 60), (100, 125, -10, 10), (-60, -20, 65, 83), (-180, 180, -80, 80)]:
        x, y = np.linspace(west, east, 9), np.linspace(south, north, 7)
        field = xr.DataArray(np.ones((7, 9)), {"latitude": y, "longitude": x}, attrs={"units": "mol m-2 s-1"})
        assert drawn(plot.flux(field)).collections


def test_innovations_are_over_their_own_sigma_and_say_chi2():
    posterior, _, _ = solved()
    problem = posterior.problem
    H = np.hstack([problem.joint().H.rows(slice(0, problem.n_obs))])
    S = H @ problem.joint().B.matvec(H.T) + np.diag(problem.R.diagonal())
    z = posterior.innovation.values / np.sqrt(np.diagonal(S))
    figure = plot.innovations(posterior)
    drawn(figure)
    said = next(text for text in words(figure) if text.startswith("mean"))
    assert said.startswith(f"mean {z.mean():+.2f}, SD {z.std():.2f}".replace("-", "−"))
    assert said.endswith(f"χ²/n {posterior.diagnostics.chi2_reduced:.2f}")
    assert "residual [ppb]" in words(figure)
    assert not overlapping(figure.axes[2], "x")


def remembering(hours, n=200):
    """One site whose errors last, inverted with just that R."""
    rng = np.random.default_rng(4)
    R = OrnsteinUhlenbeck(np.arange(float(n)), np.full(n, 1e-4), np.ones(n), hours)
    H = rng.uniform(size=(n, 12))
    y = H @ np.ones(12) + R.sqrt().matvec(rng.normal(size=n))
    at = {
        "site": ("obs", ["one"] * n),
        "time": ("obs", np.datetime64("2026-06-01", "ns") + np.arange(n) * np.timedelta64(1, "h")),
    }
    observed = xr.DataArray(y, at, "obs", attrs={"units": "nmol mol-1"})
    return solve.batch(Problem(y=observed, H=H, R=R, x_a=np.ones(12), B=Diagonal(np.ones(12)), x_units="1", name="one"))


def test_residuals_are_whitened_by_the_whole_of_r_and_laid_beside_what_the_fit_leaves():
    posterior = remembering(12.0)
    d = posterior.diagnostics
    figure = plot.innovations(posterior)
    drawn(figure)
    (lags,) = (line for line in figure.axes[2].lines if line.get_label() == "one")
    assert np.abs(lags.get_ydata()[1:4]).max() < 0.2
    legend = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert legend == [f"normal, SD {np.sqrt(1 - d.dofs / d.n_obs):.2f}"]


def test_sites_with_one_observation_have_no_lags():
    posterior = remembering(12.0, n=4)
    y = posterior.problem.y.assign_coords(site=("obs", list("abcd")))
    parts = {name: getattr(posterior.problem, name) for name in ("H", "R", "x_a", "B")}
    drawn(plot.innovations(solve.batch(Problem(y=y, name="four", **parts))))


def test_units_powers_are_raised_and_names_of_gases_are_not():
    assert ground.unit("kt CO2-eq") == "kt CO2-eq"
    assert ground.unit("kt CO2 yr-1") == "kt CO2 yr⁻¹"
    assert ground.unit("(mol/mol)/(mol/m2/s)") == "(mol/mol)/(mol/m²/s)"


def test_fields_with_latitudes_from_the_north_and_without_flux_are_drawn():
    flux = on_grid(np.abs(solved()[0].problem.x_a.values))
    turned = drawn(plot.flux(flux.isel(latitude=slice(None, None, -1))))
    meshes = [
        next(one for one in axes.collections if isinstance(one, mpl.collections.QuadMesh)).get_array()
        for axes in (turned, drawn(plot.flux(flux)))
    ]
    np.testing.assert_array_equal(np.ma.filled(meshes[0], 0), np.ma.filled(meshes[1], 0))
    drawn(plot.flux(flux * 0.0))


def test_totals_show_prior_posterior_and_truth():
    posterior, W, truth = solved()
    table = resolution(posterior, W)
    figure = plot.totals(table, truth=truth, name="CH₄")
    axes = drawn(figure)
    found = {line.get_label(): line.get_xdata() for line in axes.lines}
    np.testing.assert_allclose(found["truth"], truth)
    centres = [box.lines[0].get_xdata() for box in axes.containers]
    np.testing.assert_allclose(centres, [table["prior"].values, table["posterior"].values])
    assert "CH₄ [kt yr⁻¹]" in words(figure)
    assert not overlapping(axes, "y")


def test_the_kernel_is_written_into_its_cells():
    posterior, W, _ = solved()
    table = resolution(posterior, W)
    figure = plot.kernel(table)
    axes = drawn(figure)
    np.testing.assert_array_equal(axes.images[0].get_array(), table["kernel"].values)
    assert not overlapping(axes, "y")
    assert sum(bool(t.get_text()) for t in axes.texts) == int((np.abs(table["kernel"].values) >= 0.05).sum())


def test_taylors_diagram_obeys_the_law_of_cosines():
    rng = np.random.default_rng(3)
    observed = rng.normal(size=500)
    model = 0.8 * observed + 0.5 * rng.normal(size=500)
    axes = drawn(plot.taylor(observed, {"model": model, "missing": np.where(observed > 1, np.nan, model)}))
    point = next(line for line in axes.lines if line.get_label() == "model")
    (theta,), (radius,) = point.get_xdata(), point.get_ydata()
    error = np.std((model - model.mean()) - (observed - observed.mean())) / observed.std()
    assert np.hypot(radius * np.cos(theta) - 1, radius * np.sin(theta)) == pytest.approx(error)
    opposite = drawn(plot.taylor(observed, {"opposite": -model}))
    assert opposite.get_thetamax() == 180


def test_coverage_shows_each_seen_total():
    posterior, W, _ = solved()
    result = twins.run(posterior, W, rng=np.random.default_rng(2), draws=20)
    figure = plot.coverage(result)
    drawn(figure)
    inside = {line.get_label(): line.get_xdata() for line in figure.axes[1].lines}
    np.testing.assert_allclose(inside["68 %"], 100 * result["inside68"].values[result["counted"].values])


def candidates(problem):
    rng = np.random.default_rng(5)
    for number, (x, y) in enumerate([(112.0, 29.0), (120.0, 41.0), (118.0, 28.0)]):
        H = 1e1 * rng.uniform(size=(20, problem.n_state)) * (rng.uniform(size=problem.n_state) < 0.05)
        H_b = np.full((20, problem.n_boundary), 1 / problem.n_boundary)
        yield twins.Candidate(f"site {number}", H, Diagonal(np.full(20, 36e-18)), H_b, x, y)


@pytest.mark.parametrize("by", ["dofs", "CN-HN"])
def test_a_design_is_drawn_where_its_candidates_stand(by):
    posterior, W, _ = solved()
    design = twins.design(posterior, list(candidates(posterior.problem)), W, by=by, pick=2)
    figure = plot.network(design, stations={name: place[:2] for name, place in twin_world.SITES.items()})
    axes = drawn(figure)
    dots = next(one for one in axes.collections if isinstance(one, mpl.collections.PathCollection))
    np.testing.assert_allclose(dots.get_offsets(), np.stack([design["longitude"], design["latitude"]], axis=1))
    gain = dots.get_array()
    assert list(np.argsort(-gain) + 1) == [list(design["rank"].values).index(k) + 1 for k in (1, 2, 3)]
    assert {"1", "2"} <= set(words(figure))
    left = drawn(plot.steps(design))
    np.testing.assert_allclose(left.lines[0].get_ydata()[1:], design["chosen_dofs"].values)


def test_a_series_is_that_of_the_site():
    figure = plot.series(solved()[0], "plain", gas="CH₄")
    drawn(figure)
    assert any("CH₄" in text and "ppb" in text for text in words(figure))


def test_what_cannot_be_drawn_is_said_in_a_sentence():
    posterior, W, _ = solved()
    flux = on_grid(posterior.mean.values)
    with pytest.raises(plot.PlotError, match="has time, latitude, longitude, expected latitude and longitude"):
        plot.flux(flux.expand_dims("time"))
    with pytest.raises(plot.PlotError, match="no finite value"):
        plot.flux(flux * np.nan)
    with pytest.raises(plot.PlotError, match="one grid first"):
        plot.difference(flux, flux.assign_coords(latitude=flux["latitude"] + 1))
    with pytest.raises(plot.PlotError, match="'kg m-2 s-1'"):
        plot.difference(flux, flux.assign_attrs(units="kg m-2 s-1"))
    with pytest.raises(plot.PlotError, match="below zero"):
        plot.uncertainty_reduction(flux * 0 - 1, flux)
    with pytest.raises(plot.PlotError, match="resolution"):
        plot.kernel(xr.Dataset())
    with pytest.raises(plot.PlotError, match="prior and posterior"):
        plot.totals(xr.Dataset())
    with pytest.raises(plot.PlotError, match="one value for each"):
        plot.taylor([1.0, 2.0, 3.0], {"m": [1.0]})
    with pytest.raises(plot.PlotError, match="does not vary"):
        plot.taylor([1.0, 2.0, 3.0], {"m": [1.0, 1.0, 1.0]})
    placeless = [twins.Candidate("a", c.H, c.R, c.H_b) for c in candidates(posterior.problem)][:1]
    design = twins.design(posterior, placeless, W)
    with pytest.raises(plot.PlotError, match="no place"):
        plot.network(design)


def test_drawing_changes_no_settings_and_fetches_nothing(monkeypatch):
    before = dict(mpl.rcParams)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("something was fetched"))
    posterior, _, _ = solved()
    drawn(plot.flux(on_grid(posterior.mean.values)))
    drawn(plot.innovations(posterior))
    assert dict(mpl.rcParams) == before
