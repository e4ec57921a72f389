"""From an inversion's own files to the annex: flux file, ensemble, sectors, all as the commands write them."""

import numpy as np
import pytest
import xarray as xr

from deploy.errors import DeployError
from deploy.jobs import crosscheck
from deploy.jobs import inversion as job
from tests.deploy.march import changed, folder

LEDGER = """region,gas,category,period,value,unit,sigma_percent,source,vintage,part
CN-HN,ch4,1.B,2024,900,kt,10,made up,2025,yes
CN-HN,ch4,3.C.7,2024,700,kt,10,made up,2025,yes
CN-HB,ch4,1.B,2024,800,kt,10,made up,2025,yes
CN-HB,ch4,3.C.7,2024,600,kt,10,made up,2025,yes
CN-JX,ch4,1.B,2024,NE,kt,,made up,2025,yes
CN-JX,ch4,3.C.7,2024,NE,kt,,made up,2025,yes
"""
CONFIG = """
title = "Methane in March"
output = "annex"
[[inversion]]
name = "march"
file = "march_flux_ch4.nc"
ensemble = "members.nc"
[[ledger]]
name = "2025"
file = "ledger.csv"
period = "2024"
[ledger.sectors]
energy = "1.B"
rice = "3.C.7"
"""


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    path = tmp_path_factory.mktemp("march")
    config = folder(path / "case", change=lambda at: changed(at / "march.toml", ('by = "sector"', 'by = "province"')))
    outcome = job.run(job.read(config), ensemble=True)
    job.write(outcome, path / "members.nc")
    job.write_paris(outcome, path / "march")
    (path / "ledger.csv").write_text(LEDGER)
    (path / "annex.toml").write_text(CONFIG)
    return path, outcome


def test_the_members_of_an_ensemble_give_the_range(case):
    path, outcome = case
    annex = crosscheck.run(crosscheck.read(path / "annex.toml"), today="2024-05-01").annex
    table = annex.tables[0].comparison
    names = [member.name for member in outcome.members]
    assert table.attrs["configurations"] == ", ".join(names)
    place = {code: i for i, code in enumerate(outcome.members[0].totals["region"].values.astype(str))}
    for code in ("CN-HN", "CN-HB"):
        values = [float(m.posterior.total(m.totals).values[place[code]]) for m in outcome.members]
        row = table.sel(region=code)
        assert row["inversion_low"].item() == pytest.approx(min(values))
        assert row["inversion_high"].item() == pytest.approx(max(values))
        assert row["inversion"].item() == pytest.approx(values[0])
        assert row["inventory"].item() == pytest.approx({"CN-HN": 1600, "CN-HB": 1400}[code])
        assert row["inversion_highest"].item() == names[int(np.argmax(values))]
    assert table.sel(region="CN-JX")["inventory_notation"].item() == "NE"


def test_the_sectors_of_the_inversion_are_those_of_the_report(case):
    path, _ = case
    crosscheck.run(crosscheck.read(path / "annex.toml"), today="2024-05-01")
    with xr.open_dataset(path / "annex/draft/sectors.nc") as stored:
        assert stored["sector"].values.tolist() == ["energy", "rice"]
        inventory = stored["inventory"].sel(region="CN-HB").values
        difference = stored["region_difference"].sel(region="CN-HB").item()
    np.testing.assert_allclose(inventory, [800, 600])
    assert np.isfinite(difference)
    text = (path / "annex/draft/report.html").read_text(encoding="utf-8")
    assert "Differences by sector" in text
    assert f"configuration SHA-256 {case[1].settings.digest}" in text


def test_files_that_hold_no_ensemble_or_other_provinces_are_refused(case, tmp_path):
    path, _ = case
    config = tmp_path / "annex.toml"
    config.write_text(CONFIG.replace('"march_', f'"{path}/march_').replace('"ledger', f'"{path}/ledger'))
    with xr.open_dataset(path / "members.nc") as opened:
        stored = opened.load()
    stored.drop_vars("total_posterior_member").to_netcdf(tmp_path / "members.nc")
    with pytest.raises(DeployError, match="has no total_posterior_member: give what `skyledger invert --ensemble"):
        crosscheck.run(crosscheck.read(config), today="")
    kept = np.flatnonzero(stored["total_region"].values != "CN-HN")
    stored.isel(total=kept, total_2=kept).to_netcdf(tmp_path / "members.nc")
    with pytest.raises(DeployError, match=r"the inversion 'march': .* has no total of CN-HN"):
        crosscheck.run(crosscheck.read(config), today="")


def test_the_mean_flux_and_its_change_are_mapped_unless_only_some_regions_may_be_seen(case):
    path, _ = case
    made = crosscheck.run(crosscheck.read(path / "annex.toml"), today="2026-01-01")
    fields = made.annex.tables[0].fields
    with xr.open_dataset(path / "march_flux_ch4.nc") as flux:
        expected = flux["flux_total_posterior"].mean("time")  # periods of one length
        np.testing.assert_allclose(fields["flux_total_posterior"], expected, rtol=1e-6)
    page = next(file for file in made.files if file.suffix == ".html").read_text("utf-8")
    assert page.index("Mean flux") < page.index("What the observations changed")
    assert {"flux.png", "change.png"} <= {file.name for file in made.files}
    with xr.open_dataset(next(file for file in made.files if file.name == "crosscheck.nc")) as kept:
        np.testing.assert_allclose(kept["flux_total_posterior"], expected, rtol=1e-6)
    (path / "some.toml").write_text('regions = ["CN-HN"]\n' + CONFIG.replace('"annex"', '"some"'))
    some = crosscheck.run(crosscheck.read(path / "some.toml"), today="2026-01-01")
    assert some.annex.tables[0].fields is None
    assert "Mean flux" not in next(file for file in some.files if file.suffix == ".html").read_text("utf-8")
