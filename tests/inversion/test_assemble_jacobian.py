"""Footprints, fluxes in time and bases into H, against sums done one by one; matching; the forms of H."""

import dask.array
import numpy as np
import pytest
import scipy.sparse
import xarray as xr

from inversion.assemble import Block, ErrorModel, Sector, Stream, basis, form_of, information, jacobian, match
from inversion.assemble.matching import open_footprints
from inversion.assemble.sensitivity import by_cell, signal
from inversion.covariance import Dense, spatial
from inversion.errors import AssemblyError, FootprintError
from inversion.jacobian import as_jacobian
from inversion.regions import cell_area
from inversion.transport import sensitivities
from tests.inversion.pieces import GRID, HALF, HOUR, LATITUDE, LONGITUDE, SITES, START, flux, footprints, observations

DAY = 24 * HOUR
WEEK = START + np.arange(0, 8, 2) * DAY


def stream(obs=None, gas="ch4", kind="in situ", **options):
    obs = observations() if obs is None else obs
    return Stream(gas, kind, obs, footprints(obs, **options), ErrorModel(representation=5.0))


def block(*sectors, where=None, edges=(START, START + 10 * DAY), **options):
    return Block(sectors, where or basis.cells(GRID), np.array(edges), **options)


def test_a_constant_flux_is_what_transport_gives():
    one, sector = stream(), Sector("all", "ch4", flux())
    H = jacobian([one], [block(sector)])
    expected = one.footprints["srr"].values.reshape(96, -1) * sector.flux.values.ravel() * 1e9
    np.testing.assert_allclose(H, expected, rtol=1e-12)
    theirs = sensitivities(one.footprints, sector.flux.expand_dims("state"), units="nmol mol-1")
    np.testing.assert_allclose(H.sum(axis=1), theirs.values[:, 0], rtol=1e-12)
    np.testing.assert_allclose(signal(one, sector), theirs.values[:, 0], rtol=1e-12)


def hourly_sector(**options):
    hour = tuple(1.0 + 0.5 * np.sin(np.arange(24)))
    weekday = (1.0, 1.1, 1.0, 1.2, 0.9, 0.6, 0.5)
    months = START.astype("datetime64[M]") + np.arange(-1, 2)
    time, end = months.astype("datetime64[ns]"), (months + 1).astype("datetime64[ns]")
    return Sector("traffic", "ch4", flux(time=time, end=end), weekday=weekday, hour=hour, **options)


def brute(one, sector, edges, i, c, h=None):
    """One footprint's hour and cell, by the definition: local solar hour, weekday, month."""
    back = h + 0.5
    moment = one.footprints["time"].values[i] - np.timedelta64(round(back * 60), "m")
    hour_start = moment.astype("datetime64[h]").astype("datetime64[ns]") + HALF
    local = hour_start + np.timedelta64(round(float(LONGITUDE[c[1]]) / 15 * 3600), "s")
    day = local.astype("datetime64[D]")
    month = int(np.flatnonzero(sector.flux["time"].values <= moment)[-1])
    value = sector.flux.values[month, c[0], c[1]]
    value *= sector.hour[int((local - day) / HOUR)] / np.mean(sector.hour)
    value *= sector.weekday[day.astype(object).weekday()] / np.mean(sector.weekday)
    period = int(np.clip(np.searchsorted(edges, moment, "right") - 1, 0, len(edges) - 2))
    return period, value * one.footprints["srr_time_resolved"].values[i, h, c[0], c[1]] * 1e9


def test_hours_weekdays_months_and_periods_one_by_one():
    one = stream(hours=30)
    # All of it resolved: nothing is left for the mean of the day.
    resolved = one.footprints["srr_time_resolved"].sum("hours_back")
    one = Stream(
        "ch4",
        "in situ",
        one.observations,
        one.footprints.assign(srr=resolved.assign_attrs(units=one.footprints["srr"].units)),
    )
    sector = hourly_sector()
    H = as_jacobian(jacobian([one], [block(sector, edges=WEEK)])).rows(slice(0, 96))
    cells = LATITUDE.size * LONGITUDE.size
    for i, c in ((0, (0, 0)), (3, (4, 7)), (40, (7, 9)), (95, (2, 3))):
        expected = np.zeros(3)
        for h in range(30):
            period, value = brute(one, sector, WEEK, i, c, h)
            expected[period] += value
        at = c[0] * LONGITUDE.size + c[1]
        np.testing.assert_allclose(H[i, at::cells], expected, rtol=1e-10, atol=1e-12 * H.max())
    assert (H[0, :cells] != 0).any()
    assert (H[47] != 0).reshape(3, -1).any(axis=1).sum() >= 2


def test_what_is_not_resolved_meets_the_mean_of_its_day():
    """With a profile over hours, what is older than the file resolves is seen with the daily mean."""
    hour = (0.0,) * 12 + (2.0,) * 12
    one, sector = stream(hours=6), Sector("bio", "ch4", flux(), hour=hour, clock=0.0)
    H = jacobian([one], [block(sector)])
    ds = one.footprints
    expected = np.zeros((96, LATITUDE.size * LONGITUDE.size))
    for h in range(6):
        moment = ds["time"].values - np.timedelta64(30 + 60 * h, "m")
        clock = ((moment - moment.astype("datetime64[D]")) / HOUR).astype(int)
        expected += ds["srr_time_resolved"].values[:, h].reshape(96, -1) * np.array(hour)[clock][:, None]
    expected += (ds["srr"] - ds["srr_time_resolved"].sum("hours_back")).values.reshape(96, -1)
    np.testing.assert_allclose(H, expected * sector.flux.values.ravel() * 1e9, rtol=1e-9)
    # Not resolved at all: all of it meets the mean of the day.
    plain = Stream("ch4", "in situ", one.observations, ds.drop_vars(["srr_time_resolved", "hours_back"]))
    daily = jacobian([plain], [block(sector)])
    np.testing.assert_allclose(daily, ds["srr"].values.reshape(96, -1) * sector.flux.values.ravel() * 1e9, rtol=1e-9)


def test_the_forms_agree_and_the_rule_is_kept(tmp_path):
    assert form_of((1000, 1000), 900_000) == "dense"
    assert form_of((100_000, 1000), 9e7) == "dask"
    assert form_of((1000, 1000), 1e5) == "sparse"
    one, sectors = stream(hours=30), (hourly_sector(), Sector("b", "ch4", flux(seed=9)))
    edges = START + np.arange(0, 20) * DAY
    parts = block(*sectors, edges=edges)
    sparse = jacobian([one], [parts])
    assert scipy.sparse.issparse(sparse)
    lazy = jacobian([one], [parts], budget=1)
    assert isinstance(lazy, dask.array.Array)
    np.testing.assert_array_equal(lazy.compute(), sparse.toarray())
    stored = jacobian([one], [parts], budget=1, store=tmp_path / "H.zarr")
    assert (tmp_path / "H.zarr").is_dir()
    np.testing.assert_array_equal(stored.compute(), sparse.toarray())


def test_footprints_on_disk_are_read_block_by_block(tmp_path, monkeypatch):
    monkeypatch.setattr("inversion.assemble.matching.LOADED_BYTES", 10_000)
    monkeypatch.setattr("inversion.assemble.sensitivity._PIECE_BYTES", 20_000)
    obs = observations()
    fp = footprints(obs, hours=3)
    fp.to_netcdf(tmp_path / "fp.nc")
    (opened,) = open_footprints(tmp_path / "fp.nc")
    found = match(obs, [opened])
    assert isinstance(found.footprints["srr"].data, dask.array.Array)
    one = Stream("ch4", "in situ", found.observations, found.footprints)
    whole = Stream("ch4", "in situ", obs, fp)
    parts = [block(Sector("a", "ch4", flux()))]
    np.testing.assert_allclose(
        as_jacobian(jacobian([one], parts)).rows(slice(0, 96)), jacobian([whole], parts), rtol=1e-12
    )


def test_adjoint_of_every_form():
    rng = np.random.default_rng(8)
    one, sectors = stream(hours=30), (hourly_sector(), Sector("b", "ch4", flux(seed=9)))
    parts = [block(*sectors, edges=START + np.arange(0, 20) * DAY)]
    for H in (jacobian([one], parts), jacobian([one], parts, budget=1)):
        operator = as_jacobian(H)
        x, y = rng.normal(size=operator.shape[1]), rng.normal(size=operator.shape[0])
        assert y @ operator.matvec(x) == pytest.approx(operator.rmatvec(y) @ x, rel=1e-10)


def test_a_basis_sums_the_cells_of_its_regions():
    one, sector = stream(), Sector("a", "ch4", flux())
    cells = jacobian([one], [block(sector)])
    tree = basis.quadtree(information([one], [sector]), 13)
    assert tree.size == 13
    np.testing.assert_allclose(np.asarray(tree.weights.sum(axis=0)), 1.0)
    np.testing.assert_allclose(
        jacobian([one], [block(sector, where=tree)]), cells @ tree.weights.toarray().T, rtol=1e-12
    )


def test_the_quadtree_is_small_where_much_is_seen():
    one, sector = stream(), Sector("a", "ch4", flux())
    seen = information([one], [sector])
    tree = basis.quadtree(seen, 20)
    counts = np.asarray(tree.weights.sum(axis=1)).ravel()
    weight = tree.weights @ seen.values.ravel()
    assert counts[np.argmax(weight / counts)] <= 2
    # No other choice of a rectangle to halve was heavier: what can still be halved weighs no more than a parent did.
    assert weight[counts > 1].max() <= 4 * weight.sum() / 20
    assert basis.quadtree(seen, 80).size == 80
    assert basis.quadtree(seen, 1).size == 1
    with pytest.raises(AssemblyError, match="81 regions were asked for, expected 1 to 80"):
        basis.quadtree(seen, 81)
    with pytest.raises(AssemblyError, match="negative or not finite"):
        basis.quadtree(-seen, 4)


def test_shares_of_provinces_and_elsewhere():
    share = np.zeros((2, LATITUDE.size, LONGITUDE.size))
    share[0, :3], share[1, 3:5], share[0, 3] = 1.0, 0.5, 0.25
    where = basis.fractions(
        xr.DataArray(
            share, dims=("country", "latitude", "longitude"), coords={"country": ["CN-A", "CN-B"], **GRID.coords}
        )
    )
    assert where.region.tolist() == ["CN-A", "CN-B", basis.ELSEWHERE]
    np.testing.assert_allclose(np.asarray(where.weights.sum(axis=0)), 1.0)
    with pytest.raises(AssemblyError, match="sum to 2"):
        basis.fractions(
            xr.DataArray(
                share * 2, dims=("country", "latitude", "longitude"), coords={"country": ["a", "b"], **GRID.coords}
            )
        )
    numbers = xr.DataArray(np.arange(80).reshape(8, 10) // 40, dims=("latitude", "longitude"), coords=GRID.coords)
    assert basis.mask(numbers).region.tolist() == ["0", "1"]


def test_truncation_is_what_sampling_finds():
    one, sector = stream(), Sector("a", "ch4", flux(), sigma=0.4)
    H = by_cell(one, sector, np.arange(96))
    y, x = np.meshgrid(LATITUDE, LONGITUDE, indexing="ij")
    B = spatial(x.ravel(), y.ravel(), sigma=0.4, length_km=300)
    tree = basis.quadtree(information([one], [sector]), 10)
    lost = basis.truncation(H, B, tree)
    rng = np.random.default_rng(0)
    dx = B.sqrt().matvec(rng.normal(size=(80, 20_000)))
    V = np.diag((H**2).sum(axis=0))
    M = tree.weights.toarray()
    mean = np.linalg.solve(M @ V @ M.T, M @ V @ dx)
    sampled = (H @ (dx - M.T @ mean)).std(axis=1)
    np.testing.assert_allclose(lost.sigma, sampled, rtol=0.05)
    assert 0 < lost.share < 1
    assert basis.truncation(H, B, basis.cells(GRID)).share < 1e-20
    finer = basis.truncation(H, B, basis.quadtree(information([one], [sector]), 40))
    assert finer.share < lost.share
    # A prior error that is the same everywhere has nothing to lose.
    same = basis.truncation(H, Dense(np.ones((80, 80)) + 1e-6 * np.eye(80)), tree)
    assert same.share < 1e-6


def test_matching_by_name_height_and_time():
    obs = observations()
    fp = footprints(obs)
    order = np.random.default_rng(2).permutation(96)
    found = match(obs, [fp.isel(receptor=order[:50]), fp.isel(receptor=order[50:])])
    np.testing.assert_array_equal(found.footprints["srr"], fp["srr"])
    assert found.counts.sel(site="aaa", outcome="matched") == 48
    # One site, some hours and one inlet are missing.
    part = fp.isel(receptor=np.r_[5:20, 48:96])
    part = part.assign_coords(release_height=part["release_height"] + np.where(np.arange(63) < 15, 0.0, 30.0))
    found = match(obs, [part])
    assert found.observations.sizes["obs"] == 15
    assert found.counts.sel(site="aaa").values.tolist() == [0, 0, 33, 15]
    assert found.counts.sel(site="bbb").values.tolist() == [0, 48, 0, 0]
    assert match(obs, [part], heights={"bbb": 130.0}).observations.sizes["obs"] == 63
    assert match(obs, [fp.isel(receptor=slice(0, 48))]).counts.sel(site="bbb", outcome="site") == 48


def test_matching_by_place_and_the_nearest_hour():
    obs = observations()
    fp = footprints(obs, named=False)
    late = fp.assign_coords(time=fp["time"] + np.timedelta64(20, "m"))
    near = fp.assign_coords(time=fp["time"] - np.timedelta64(10, "m"))
    found = match(obs, [late, near])
    np.testing.assert_array_equal(found.footprints["time"], near["time"])
    early = fp.assign_coords(time=fp["time"] - np.timedelta64(25, "m"))
    np.testing.assert_array_equal(match(obs, [early, late]).footprints["time"], late["time"])
    elsewhere = fp.assign_coords(release_lon=fp["release_lon"] + 1.0)
    with pytest.raises(
        AssemblyError, match=r"None of 96 observations has a footprint; missed by: site 96, height 0, time 0"
    ):
        match(obs, [elsewhere])
    with pytest.raises(AssemblyError, match=r"time 96.*footprints: unnamed from 2025"):
        match(obs, [fp.assign_coords(time=fp["time"] + np.timedelta64(366, "D"))])


def test_columns_have_no_height_and_grids_must_agree(tmp_path):
    obs = observations()
    column = obs.assign_coords(height=("obs", np.full(96, np.nan)))
    assert match(column, [footprints(obs).drop_vars("release_height")]).observations.sizes["obs"] == 96
    fp = footprints(obs)
    moved = fp.assign_coords(latitude=("latitude", LATITUDE + 0.5, {"units": "degrees_north"}))
    with pytest.raises(AssemblyError, match="different grids: latitude 26 to 33"):
        match(obs, [fp.isel(receptor=slice(0, 48)), moved.isel(receptor=slice(48, 96))])
    with pytest.raises(FootprintError, match="There is no such file"):
        open_footprints(tmp_path / "none*.nc")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"flux": flux().assign_attrs(units="kg m-2 s-1")}, "has the units 'kg m-2 s-1'"),
        ({"flux": flux().where(flux() < 3e-8)}, "not finite"),
        ({"hour": (1.0,) * 23}, "'hour' has 23 values, expected 24"),
        ({"sigma": 0.0}, "sigma is 0.0, expected a number above zero"),
        ({"clock": "Beijing"}, "clock is 'Beijing'"),
    ],
)
def test_sectors_that_cannot_be(changes, sentence):
    with pytest.raises(AssemblyError, match=sentence):
        Sector(**{"name": "a", "gas": "ch4", "flux": flux()} | changes)


def test_a_flux_that_does_not_reach_back_is_refused():
    time = START + np.arange(2) * DAY
    sector = Sector("a", "ch4", flux(time=time, end=time + DAY))
    with pytest.raises(AssemblyError, match=r"Its flux goes from 2024-03-01.* to 2024-03-03.*add files"):
        jacobian([stream()], [block(sector)])


def test_the_mean_of_a_period_is_that_of_its_hours():
    sector = hourly_sector()
    hours = START + np.arange(24 * 14) * HOUR + HALF
    np.testing.assert_allclose(sector.mean(START, START + 14 * DAY), sector.fields(hours).mean(axis=0), rtol=1e-12)
    area = cell_area(LATITUDE, LONGITUDE)
    assert area.shape == (8, 10)
    assert len(SITES) == 2


def test_footprints_in_zarr_are_the_same(tmp_path):
    obs = observations()
    fp = footprints(obs, hours=3)
    fp.to_zarr(tmp_path / "fp.zarr", zarr_format=2)
    fp.to_netcdf(tmp_path / "fp.nc")
    parts = [block(Sector("a", "ch4", flux()))]
    H = []
    for name in ("fp.zarr", "fp.nc"):
        found = match(obs, open_footprints(tmp_path / name))
        H.append(jacobian([Stream("ch4", "in situ", found.observations, found.footprints)], parts))
    np.testing.assert_array_equal(*H)
