"""Totals by period and by sector: against the whole aggregate, and through the file that an inversion writes."""

import numpy as np
import pytest
import xarray as xr

from inversion import solve
from inversion.assemble import Baseline, Block, ErrorModel, Sector, Stream, assemble, basis, by_period, by_sector, paris
from inversion.crosscheck import (
    CrosscheckError,
    attribution,
    compare,
    over_window,
    read_periods,
    read_sectors,
    totals,
    trends,
)
from inversion.errors import AssemblyError
from inversion.inventory.entry import Ledger, Period
from inversion.regions import cell_area
from inversion.report import netcdf
from tests.inversion.pieces import GRID, LATITUDE, LONGITUDE, START, flux, footprints, observations

EDGES = np.array(["2024-03-01", "2024-03-03", "2024-03-08"], "datetime64[ns]")
PERIODS = ["2024-03-01/2024-03-02", "2024-03-03/2024-03-07"]


@pytest.fixture(scope="module")
def solved():
    """Two sectors, one in two periods and one over the window; two regions."""
    assert EDGES[0] == START
    obs = observations(96)
    one = Stream("ch4", "in situ", obs, footprints(obs), ErrorModel(5.0))
    halves = xr.DataArray(
        np.where(np.arange(8)[:, None] < 4, "south", "north") + np.full((8, 10), ""), GRID.coords, GRID.coords.dims
    )
    parts = [
        Block((Sector("oil & gas", "ch4", flux()),), basis.mask(halves), EDGES, length_days=9.0),
        Block((Sector("rice", "ch4", flux(seed=9), sigma=0.3),), basis.cells(GRID), EDGES[[0, 2]], length_km=150.0),
    ]
    assembled = assemble([one], parts, {"ch4": Baseline(1940.0, 20.0)}, name="a case")
    share = np.zeros((2, 8, 10))
    share[0, :4], share[1, 4:] = 1.0, 1.0
    regions = xr.Dataset(
        {
            "country_fraction": (("country", "latitude", "longitude"), share),
            "cell_area": cell_area(LATITUDE, LONGITUDE),
        },
        {"country": ["CN-A", "CN-B"], "covered": ("country", [1.0, 1.0]), **GRID.coords},
    )
    return assembled, solve.batch(assembled.problem), regions


@pytest.fixture(scope="module")
def written(solved, tmp_path_factory):
    assembled, posterior, regions = solved
    ds = paris.fluxes(assembled, posterior, "ch4", regions=regions)
    return netcdf.write(ds, tmp_path_factory.mktemp("flux") / "flux.nc")


def whole(solved):
    assembled, _, regions = solved
    W = assembled.totals(shares=regions["country_fraction"])
    keep = [k for k, s in enumerate(W["sector"].values) if s == "all" and W["region"].values[k] != "domain"]
    return W.values[keep]


def test_periods_and_sectors_add_up_to_the_whole(solved):
    assembled, _, regions = solved
    months = by_period(assembled, "ch4", regions)
    assert months["region"].values.tolist() == [f"CN-{r} {p}" for r in "AB" for p in PERIODS]
    weight = np.array([2.0, 5.0]) / 7.0
    np.testing.assert_allclose(
        np.einsum("rtm,t->rm", months.values.reshape(2, 2, -1), weight), whole(solved), rtol=1e-10, atol=1e-12
    )
    sectors = by_sector(assembled, "ch4", regions)
    assert sectors["sector"].values.tolist() == ["oil & gas", "rice"] * 2
    np.testing.assert_allclose(sectors.values.reshape(2, 2, -1).sum(axis=1), whole(solved), rtol=1e-10, atol=1e-12)
    with pytest.raises(AssemblyError, match="No sector emits co2"):
        by_period(assembled, "co2", regions)


@pytest.mark.parametrize(("read", "divide"), [(read_periods, by_period), (read_sectors, by_sector)])
def test_a_file_holds_what_the_posterior_says(solved, written, read, divide):
    assembled, posterior, regions = solved
    stored, fresh = read(written), totals(posterior, divide(assembled, "ch4", regions))
    for name in ("prior", "inversion", "prior_covariance", "inversion_covariance"):
        scale = float(np.abs(fresh[name]).max())
        np.testing.assert_allclose(stored[name], fresh[name], rtol=1e-9, atol=1e-12 * scale)
        assert stored[name].attrs["units"] == fresh[name].attrs["units"]
    kind = "period" if divide is by_period else "sector"
    for name in ("region", "code", kind, "covered"):
        assert stored[name].values.tolist() == fresh[name].values.tolist()
    assert stored.attrs["gas"] == "ch4"


def test_a_file_of_several_periods_is_compared_as_a_whole_by_period_and_by_sector(solved, written):
    _, posterior, _ = solved
    seen = over_window(read_periods(written))
    np.testing.assert_allclose(seen.inversion, posterior.total(whole(solved)), rtol=1e-9)
    np.testing.assert_allclose(seen.inversion_covariance, posterior.covariance(whole(solved)), rtol=1e-7)
    np.testing.assert_allclose(over_window(read_sectors(written)).inversion, seen.inversion, rtol=1e-9)

    def book(rate, period):
        rate = np.asarray(rate)
        return Ledger(("CN-A", "CN-B"), rate, 0.2 * rate, ("", ""), "ch4", "0", "v", "us", Period.parse(period))

    assert compare(seen, book(seen.prior.values, "2024-03-01/2024-03-07")).sizes["region"] == 2
    cells = read_periods(written)
    by = {name: book(cells.prior.values[cells.period.values == name], name) for name in PERIODS}
    assert trends(cells, by).sizes == {"region": 2, "region_cov": 2, "period": 2}
    cells = read_sectors(written)
    of = {name: book(cells.prior.values[cells.sector.values == name], "2024") for name in ("oil & gas", "rice")}
    assert attribution(cells, of).sizes == {"region": 2, "region_cov": 2, "sector": 2, "sector_cov": 2}


def test_files_without_what_is_needed_say_so(solved, tmp_path):
    assembled, posterior, _ = solved
    bare = netcdf.write(paris.fluxes(assembled, posterior, "ch4"), tmp_path / "bare.nc")
    with pytest.raises(CrosscheckError, match="totals"):
        read_periods(bare)
    with pytest.raises(CrosscheckError, match="It has no sectors"):
        read_sectors(bare)
    (tmp_path / "text.nc").write_text("no")
    with pytest.raises(CrosscheckError, match="no netCDF file"):
        read_periods(tmp_path / "text.nc")
