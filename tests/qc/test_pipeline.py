import json
import math
from statistics import fmean

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from qc.errors import QcError
from qc.flags import Cause, Flag
from qc.pipeline import Config, rows, run, summary
from qc.schema import OBS, SchemaError, require
from qc.units import HPA_PER_TORR
from qc.water import COEFFICIENTS
from tests import strategies
from tests.qc import brute
from tests.qc.conftest import DOCUMENT
from tests.strategies import EPOCH_MS, dataset

PRESSURE = {"quantity": "cavity_pressure_torr", "min": 139.6, "max": 140.4, "model": "Picarro*"}
CHAIN = {
    **DOCUMENT,
    "flush_seconds": 20,
    "outage_seconds": 90,
    "min_minutes": 2,
    "rule": [PRESSURE],
    "species": {
        "co2": {
            "scale": "WMO CO2 X2019",
            "water": {"model": "picarro_g2301"},
            "range": {"bad": [360, 470]},
            "u_cmr": 0.03,
            "u_shared": {"ltr": 0.02},
        }
    },
}


def fingerprint(ds):
    """Every byte of a dataset: values, attributes, order."""
    arrays = [(str(name), v.dims, v.dtype.str, v.values.tobytes(), repr(v.attrs)) for name, v in ds.variables.items()]
    return arrays, json.dumps(ds.attrs)


def expected(ds, config):
    c = COEFFICIENTS["picarro_g2301", "co2"]
    return brute.judged(
        brute.rows_of(ds),
        ports=config.ports,
        seconds=config.flush_seconds,
        outage=config.outage_seconds,
        a=c.a,
        b=c.b,
        gap_s=30.0,
        pressure=(139.6 * HPA_PER_TORR, 140.4 * HPA_PER_TORR),
        bad=(360, 470),
    )


@given(strategies.readings(), st.lists(st.sampled_from(strategies.PORTS), min_size=1, unique=True))
def test_the_chain_is_that_of_plain_loops(ds, ports):
    config = Config.from_dict({**CHAIN, "ports": ports})
    judged = expected(ds, config)
    own = rows(ds, config)
    own = own.isel(time=own["co2_flag"].values != Flag.MISSING)
    assert own["co2_flag"].values.tolist() == [flag for _, _, flag, _ in judged]
    assert own["co2_cause"].values.tolist() == [cause for *_, cause in judged]
    np.testing.assert_allclose(own["co2"].values, [dry for _, dry, _, _ in judged], rtol=1e-14)
    for interval, width, enough in (("minute", 60_000, 1), ("hour", 3_600_000, 2)):
        result = run(ds, config, interval=interval)
        require(result, OBS)
        plain = brute.means(judged, width)
        start = result["time_bnds"].values[:, 0].astype("datetime64[ms]").astype("int64").tolist()
        assert start == list(plain)
        good_minutes = {t // 60_000 for t, _, flag, _ in judged if flag == 1}
        for i, (begin, (mean, sd, n, rejected, worst, causes)) in enumerate(plain.items()):
            assert result["co2"].values[i] == pytest.approx(mean, rel=1e-12, nan_ok=True)
            assert result["co2_stdev"].values[i] == pytest.approx(sd, abs=1e-6, nan_ok=True)
            assert (result["co2_n"].values[i], result["co2_n_rejected"].values[i]) == (n, rejected)
            count = sum(begin <= minute * 60_000 < begin + width for minute in good_minutes)
            few = (Flag.GOOD, 0) if count >= enough else (Flag.SUSPECT, Cause.TOO_FEW)
            flag = few if n else (worst, causes)
            assert (result["co2_flag"].values[i], result["co2_cause"].values[i]) == flag


@given(strategies.readings(valve=False, max_rows=60))
def test_without_a_valve(ds):
    config = Config.from_dict({**CHAIN, "ports": []})
    own = rows(ds, config)
    own = own.isel(time=own["co2_flag"].values != Flag.MISSING)
    assert own["co2_cause"].values.tolist() == [cause for *_, cause in expected(ds, config)]


@given(strategies.readings(max_rows=100), st.data())
def test_a_piece_with_its_margin_gives_what_the_whole_gives(ds, data):
    variability = {"quantity": "cavity_pressure", "basis": "V", "max": 0.8}
    config = Config.from_dict({**CHAIN, "rule": [PRESSURE, variability]})
    cut = np.datetime64(EPOCH_MS // 3_600_000, "h")
    if ds.sizes["time"]:  # one of the rows lies at the cut
        row = ds["time"].values[data.draw(st.integers(0, ds.sizes["time"] - 1))]
        ds = ds.assign_coords(time=ds["time"] - (row - cut) + np.timedelta64(data.draw(st.integers(-3, 3)), "s"))
    margin = np.timedelta64(int(config.margin_seconds * 1000), "ms")
    time = ds["time"].values
    pieces = [
        run(ds.isel(time=time < cut + margin), config, end=cut),
        run(ds.isel(time=time >= cut - margin), config, start=cut),
    ]
    whole = run(ds, config)
    for name in whole.variables:
        together = np.concatenate([piece[name].values for piece in pieces])
        assert together.tobytes() == whole[name].values.tobytes()


@pytest.mark.parametrize("second", [5, 25, 45])
def test_every_cut_near_a_change_of_port_needs_the_margin(second):
    """Rows every second in turn, the port changing every 70 s: cut at each minute of twenty."""
    size, begin = 1200, EPOCH_MS // 3_600_000 * 3_600_000
    turn = [i % 3 for i in range(size)]
    ds = dataset(
        [begin + 1000 * (i + second) for i in range(size)],
        {
            "co2": [400.0 + i / 7 % 3 if turn[i] == 0 else math.nan for i in range(size)],
            "h2o_reported": [1.0 + i / 11 % 1 if turn[i] == 1 else math.nan for i in range(size)],
        },
        port=["moving" if i % 70 == 0 else ("1", "10")[i // 70 % 2] for i in range(size)],
    )
    config = Config.from_dict(CHAIN)
    time, whole = ds["time"].values, run(ds, config, interval="minute")
    differs = 0
    for minute in range(1, 20):
        cut = np.datetime64(begin, "ms") + np.timedelta64(minute, "m")
        for margin, needed in ((config.margin_seconds, True), (1.0, False)):
            reach = np.timedelta64(int(margin * 1000), "ms")
            before = run(ds.isel(time=time < cut + reach), config, interval="minute", end=cut)
            after = run(ds.isel(time=time >= cut - reach), config, interval="minute", start=cut)
            same = all(
                np.concatenate([before[name].values, after[name].values]).tobytes() == whole[name].values.tobytes()
                for name in whole.variables
            )
            assert same or not needed
            differs += not same
    assert differs


def test_only_intervals_wholly_within_start_and_end_are_returned():
    minute = np.timedelta64(1, "m")
    begin = np.datetime64(EPOCH_MS // 3_600_000, "h") + 0 * minute
    time = [EPOCH_MS // 3_600_000 * 3_600_000 + 60_000 * i for i in range(5)]
    ds = dataset(time, {"co2": [400.0] * 5, "h2o_reported": [0.0] * 5}, port=["10"] * 5)
    config = Config.from_dict({**CHAIN, "flush_seconds": 0})

    def minutes(**span):
        return [int((t - begin) / minute) for t in run(ds, config, interval="minute", **span)["time_bnds"].values[:, 0]]

    assert minutes() == [0, 1, 2, 3, 4]
    assert minutes(start=begin + minute, end=begin + 3 * minute) == [1, 2]
    half = np.timedelta64(30, "s")
    assert minutes(start=begin + half) == [1, 2, 3, 4]
    assert minutes(end=begin + minute + half) == [0]


@given(strategies.readings(max_rows=60))
def test_the_same_input_gives_the_same_bytes_and_is_not_changed(ds):
    config = Config.from_dict(CHAIN)
    before = fingerprint(ds)
    first = fingerprint(run(ds, config, code_version="1"))
    assert fingerprint(run(ds.copy(deep=True), Config.from_dict(CHAIN), code_version="1")) == first
    assert fingerprint(ds) == before


def test_the_file_written_twice_is_the_same_file(g2301, config, tmp_path):
    contents = []
    for name in ("a.nc", "b.nc"):
        run(g2301, config, code_version="1").to_netcdf(tmp_path / name, engine="netcdf4")
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]


def real_config(**changes):
    species = {
        gas: {"scale": scale, "water": {"model": "picarro_g2301"}}
        for gas, scale in (("co2", "WMO CO2 X2019"), ("ch4", "WMO CH4 X2004A"))
    }
    return Config.from_dict({**DOCUMENT, "species": species, **changes})


@pytest.mark.parametrize(("gas", "code", "factor"), [("co2", "1.0", 1.0), ("ch4", "2.0", 1000.0)])
def test_the_real_g2301_hour(g2301, g2301_rows, gas, code, factor):
    """Own rows of port 10, averaged straight from the file's text."""
    c = COEFFICIENTS["picarro_g2301", gas]
    position = [float(row["MPVPosition"]) for row in g2301_rows]
    inlet, water = [], [i for i, row in enumerate(g2301_rows) if float(row["species"]) == 3]
    for i, row in enumerate(g2301_rows):
        if position[i] == 10 and float(row["species"]) == float(code):
            h = fmean(float(g2301_rows[k]["h2o_reported"]) for k in nearest(water, i))
            minute = round(float(row["EPOCH_TIME"]) * 1000) // 60_000
            inlet.append((minute, factor * float(row[gas.upper()]) / (1 + c.a * h + c.b * h * h)))
    result = run(g2301, real_config(), interval="minute")
    assert result[f"{gas}_n"].values.sum() == len(inlet)
    for i, (start, _) in enumerate(result["time_bnds"].values.astype("datetime64[m]").astype(int)):
        values = [x for minute, x in inlet if minute == start]
        if values:
            assert result[gas].values[i] == pytest.approx(fmean(values), rel=1e-12)
            assert result[f"{gas}_n"].values[i] == len(values)
    hours = run(g2301, real_config())
    assert hours["time"].values.astype("datetime64[m]").astype(str).tolist() == ["2015-08-31T18:30", "2015-08-31T19:30"]
    total = (hours[gas] * hours[f"{gas}_n"]).sum().item() / hours[f"{gas}_n"].sum().item()
    assert total == pytest.approx(fmean(x for _, x in inlet), rel=1e-12)
    # Moving rows count as rejected; nothing else does: 963 is the normal status of this model.
    assert set(summary(rows(g2301, real_config()))[gas]["causes"]) <= {"flushing"}


def nearest(water, i):
    return [[k for k in water if k < i][-1], *[k for k in water if k > i][:1]]


def test_averaging_every_row_of_the_real_hour_would_be_wrong(g2301, g2301_rows):
    """The file repeats a gas on the others' rows; own rows alone are what READINGS holds."""
    dried = {"co2": {"scale": "WMO CO2 X2019", "water": {"method": "none"}}}
    every_port = sorted({str(port) for port in g2301["port"].values} - {"moving"})
    result = run(g2301, real_config(ports=every_port, species=dried))
    mean = (result["co2"] * result["co2_n"]).sum().item() / result["co2_n"].sum().item()
    own = [
        float(row["CO2"])
        for row in g2301_rows
        if float(row["species"]) == 1 and float(row["MPVPosition"]) == int(float(row["MPVPosition"]))
    ]
    assert mean == pytest.approx(fmean(own), rel=1e-12)
    assert abs(fmean(float(row["CO2"]) for row in g2301_rows) - mean) > 0.05


def test_a_status_rule_for_another_model_says_nothing(g2301):
    other = {"quantity": "status", "min": 899, "max": 899, "model": "Picarro G4301"}
    assert "state" not in summary(rows(g2301, real_config(rule=[other])))["co2"]["causes"]
    wrong = {**other, "model": "*G2301"}
    result = run(g2301, real_config(rule=[wrong]))
    assert result["co2"].isnull().all()
    assert (result["co2_flag"] == Flag.BAD).all()
    assert (result["co2_n_rejected"] > 0).all()


def test_flushing_of_the_real_hour(g2301):
    config = real_config(ports=["1"], flush_seconds=60)
    own = rows(g2301, config)
    flushed = own.isel(time=(own["co2_cause"].values & Cause.FLUSHING) != 0)
    still = own.isel(time=own["co2_flag"].values == Flag.GOOD)
    # Port 1 is reached twice, for about two minutes each; a gas comes every three seconds.
    assert 36 <= flushed.sizes["time"] <= 44
    assert 34 <= still.sizes["time"] <= 44
    # ... and so the inlet's hour rests on what is left.
    assert run(g2301, config)["co2_n"].sum() == still.sizes["time"]


def test_the_instruments_own_dry_value(g2301):
    by_formula = run(g2301, real_config())
    theirs = {"co2": {"scale": "WMO CO2 X2019", "water": {"method": "instrument"}}}
    by_instrument = run(g2301, real_config(species=theirs))
    np.testing.assert_allclose(by_instrument["co2"], by_formula["co2"], rtol=1e-4)


def test_flagged_values_keep_flag_and_value():
    time = [EPOCH_MS + 1000 * i for i in range(3)]
    ds = dataset(time, {"co2": [400.0, 500.0, 400.0], "h2o_reported": [0.0] * 3}, port=["10"] * 3)
    config = Config.from_dict({**CHAIN, "flush_seconds": 0, "min_minutes": 1})
    own = rows(ds, config)
    assert own["co2"].values.tolist() == [400.0, 500.0, 400.0]
    assert own["co2_flag"].values.tolist() == [1, 4, 1]
    hour = run(ds, config)
    assert (hour["co2"].item(), hour["co2_n"].item(), hour["co2_n_rejected"].item()) == (400.0, 2, 1)
    assert hour["co2_flag"].item() == Flag.GOOD


def test_no_water_means_not_evaluated():
    ds = dataset([EPOCH_MS], {"co2": [400.0]}, port=["10"])
    hour = run(ds, Config.from_dict({**CHAIN, "flush_seconds": 0}))
    assert math.isnan(hour["co2"].item())
    assert (hour["co2_flag"].item(), hour["co2_cause"].item()) == (Flag.NOT_EVALUATED, Cause.WATER)
    assert "co2: water: the readings have no h2o_reported" in hour.attrs["not_evaluated"]
    assert "have no cavity_pressure" in hour.attrs["not_evaluated"]


def test_provenance(g2301, config):
    hour = run(g2301, config, code_version="1.2.3")
    assert hour.attrs["code_version"] == "1.2.3"
    assert hour.attrs["configuration_digest"] == config.digest
    assert hour.attrs["time_coverage_start"] == "2015-08-31T18:00:00Z"
    assert hour.attrs["time_coverage_end"] == "2015-08-31T20:00:00Z"
    assert hour["co2"].attrs["scale"] == "WMO CO2 X2019"
    assert "h2o_reported" in hour["co2"].attrs["water_correction"]
    assert set(hour["co2"].attrs["ancillary_variables"].split()) <= set(hour.data_vars)


@pytest.mark.parametrize("interval", ["hour", "minute"])
def test_nothing_in_nothing_out(config, interval):
    result = run(dataset([], {"co2": [], "h2o_reported": []}), config, interval=interval)
    assert result.sizes["time"] == 0
    require(result, OBS)
    assert summary(result) == {"co2": {"flags": {}, "causes": {}, "values": 0, "rejected": 0}}


def test_a_gas_the_readings_do_not_have(config):
    result = run(dataset([EPOCH_MS], {"h2o": [1.0]}, port=["10"]), config)
    assert result.sizes["time"] == 0
    assert "the readings have no co2" in result.attrs["not_evaluated"]


def test_summary_counts(config):
    flags = np.array([1, 1, 4, 2, 9], np.int8)
    causes = np.array([0, 0, 5, 16, 0], np.int32)
    ds = xr.Dataset({"co2": ("time", np.zeros(5)), "co2_flag": ("time", flags), "co2_cause": ("time", causes)})
    assert summary(ds) == {
        "co2": {
            "flags": {"good": 2, "not_evaluated": 1, "bad": 1, "missing": 1},
            "causes": {"state": 1, "flushing": 1, "water": 1},
        }
    }
    assert config.station == "abc"


def test_errors(g2301, config):
    with pytest.raises(QcError, match="interval is 'day', expected one of hour, minute"):
        run(g2301, config, interval="day")
    with pytest.raises(QcError, match="readings are of instrument 'other', the configuration is for 'g2301'"):
        run(g2301.assign_attrs(instrument="other"), config)
    with pytest.raises(SchemaError, match="READINGS"):
        run(g2301.drop_vars("port"), config)
    with pytest.raises(QcError, match="names none"):
        run(g2301, real_config(ports=[]))
