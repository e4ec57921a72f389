import numpy as np
import pytest
from hypothesis import given

from qc.errors import QcError
from qc.schema import nanoseconds
from qc.water import COEFFICIENTS, at_own_rows, dry_mole_fraction
from tests import strategies
from tests.qc import brute


@pytest.mark.parametrize("gas", ["co2", "ch4"])
def test_own_rows_of_the_real_g2301_hour_give_the_instruments_own_dry_values(g2301, gas):
    c = COEFFICIENTS["picarro_g2301", gas]
    own = np.flatnonzero(np.isfinite(g2301[gas].values))
    h = at_own_rows(nanoseconds(g2301["time"]), g2301["h2o_reported"].values, own)
    dry = dry_mole_fraction(g2301[gas].values[own], h, a=c.a, b=c.b)
    # The instrument writes a gas's dry value on the next water row; the first cycle has no water before.
    water = np.flatnonzero(np.isfinite(g2301["h2o_reported"].values))
    complete = (own > water[0]) & (own < water[-1])
    theirs = g2301[f"{gas}_dry"].values[water[np.searchsorted(water, own[complete])]]
    assert complete.sum() == 1205
    relative = np.abs(dry[complete] / theirs - 1)
    assert relative.max() < 6e-11
    if gas == "co2":
        assert relative.max() < 2.3e-11


def test_h2o_instead_of_h2o_reported_costs_ppm(g2301):
    c = COEFFICIENTS["picarro_g2301", "co2"]
    own = np.flatnonzero(np.isfinite(g2301["co2"].values))
    time = nanoseconds(g2301["time"])
    dry = [
        dry_mole_fraction(g2301["co2"].values[own], at_own_rows(time, g2301[q].values, own), a=c.a, b=c.b)
        for q in ("h2o_reported", "h2o")
    ]
    assert np.abs(dry[0] - dry[1]).max() > 2.0


@pytest.mark.parametrize("gas", ["CO2", "CH4"])
def test_rows_of_the_real_g4301_have_their_own_water(shared, gas):
    header, *lines = (shared / "data/instruments/picarro_g4301.dat").read_text(encoding="ascii").splitlines()
    table = np.array([line.split()[2:] for line in lines], dtype=float)
    column = {name: table[:, i] for i, name in enumerate(header.split()[2:])}
    time = np.round(column["EPOCH_TIME"] * 1000).astype(np.int64) * 1_000_000
    h = at_own_rows(time, column["H2O"], np.arange(time.size))
    assert np.array_equal(h, column["H2O"])
    c = COEFFICIENTS["picarro_g4301", gas.lower()]
    dry = dry_mole_fraction(column[gas], h, a=c.a, b=c.b)
    assert np.abs(dry / column[f"{gas}_dry"] - 1).max() < 1e-10


def test_gartow_water_correction_and_one_line_reproduce_icos_co2(shared):
    path = shared / "data/records/icos_nrt_gat_20180412_co2.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    header = next(line for line in lines if line.startswith("#Site")).lstrip("#").split(";")
    every = [dict(zip(header, line.split(";"), strict=True)) for line in lines if not line.startswith("#")]
    rows = [row for row in every if float(row["co2"]) != -999.99]  # one is missing although its flag says valid
    wet, h, theirs = (np.array([float(row[name]) for row in rows]) for name in ("co2Raw", "H2O", "co2"))
    c = COEFFICIENTS["picarro_g2301", "co2"]
    dry = dry_mole_fraction(wet, h, a=c.a, b=c.b)
    line = np.polynomial.Polynomial.fit(dry, theirs, 1)
    assert (len(every), len(rows)) == (24, 23)
    assert np.sqrt(np.mean((line(dry) - theirs) ** 2)) < 0.0014


@given(strategies.readings())
def test_neighbours_are_found_as_a_plain_loop_finds_them(ds):
    table = brute.rows_of(ds)
    own = np.flatnonzero(np.isfinite(ds["co2"].values))
    h = at_own_rows(nanoseconds(ds["time"]), ds["h2o_reported"].values, own, max_gap_seconds=30.0)
    expected = [brute.h_at(table, i, humidity="h2o_reported", gap_s=30.0) for i in own]
    np.testing.assert_allclose(h, [np.nan if x is None else x for x in expected], rtol=1e-14)


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(QcError, match="same rows"):
        at_own_rows(np.arange(3), np.zeros(2), np.arange(2))
