"""Calibration within the chain: standards in the readings, a drifting instrument, targets; pieces are the whole."""

import numpy as np
import pytest
from scipy import stats

from qc import target
from qc.calibration import apply
from qc.errors import ConfigError
from qc.flags import Cause, Flag, Outcome, outcome
from qc.manual import Entry
from qc.pipeline import Config, calibrated, cylinders, injections, rows, run
from qc.schema import OBS, require
from tests.qc.conftest import DOCUMENT
from tests.strategies import dataset

NS = 10**9
DAY = 86_400
START = 1_767_225_600
STEP = 30
TANKS = {"2": 380.0, "3": 410.0, "4": 450.0, "5": 420.0}
"""Port -> what the cylinder holds; that at 5 is the target."""
CALIBRATION = {
    "flush_seconds": 120,
    "history_days": 60,
    "standard": [{"port": port, "cylinder": f"tank{port}"} for port in "234"],
    "target": [{"port": "5", "cylinder": "tank5"}],
    "cylinder": [
        {"name": f"tank{port}", "species": "co2", "value": value, "uncertainty": 0.01, "time": "2025-06-01"}
        for port, value in TANKS.items()
    ],
}


def document(**more):
    gas = {
        "scale": "WMO CO2 X2019",
        "water": {"method": "none"},
        "u_cmr": 0.02,
        "u_shared": {"scale": 0.02},
        "calibration": {"degree": 1, "repeatability": 0.02, "drift": 0.02, **more.pop("gas", {})},
    }
    return {**DOCUMENT, "flush_seconds": 60, "species": {"co2": gas}, "calibration": CALIBRATION | more}


def instrument(days, *, every=2, seed=1, walk=0.02, noise=0.05, tank_error=None, late=0.0):
    """Return READINGS of air at 420 and standards every so many days (two rounds of ten minutes), and the truth."""
    rng = np.random.default_rng(seed)
    second = np.arange(0, days * DAY, STEP)
    drift = 0.3 + np.cumsum(rng.normal(0, walk * np.sqrt(STEP / DAY), second.size))
    air = 420 + 5 * np.sin(second / DAY * 2 * np.pi)
    true, port = air.copy(), np.full(second.size, "10", dtype=object)
    within = second % (every * DAY)
    for k, one in enumerate([*"234", "5", *"234", "5"]):
        there = (within >= 600 * k + 3600) & (within < 600 * (k + 1) + 3600)
        true[there] = TANKS[one] + (0.0 if tank_error is None else tank_error[one])
        port[there] = one
    # What was in the line before goes out within a minute; `late` is how much of it is left after two.
    reads = true + drift + 0.001 * (true - 410) + rng.normal(0, noise, second.size)
    change = np.r_[0, np.flatnonzero(port[1:] != port[:-1]) + 1]
    since = second - second[change[np.searchsorted(change, np.arange(second.size), side="right") - 1]]
    reads[since < 60] += 3.0
    reads += late
    ds = dataset((START + second) * 1000, {"co2": reads}, port=port.tolist())
    return ds, second, np.where(port == "10", air, np.nan)


def missed(result, second, air):
    """Return what each hour of a result is off by, and the days since the begin."""
    hour = (result["time"].values.astype("int64") // NS - START) // 3600
    truth = [air[second // 3600 == h] for h in hour.tolist()]
    return result["co2"].values - np.array([t[np.isfinite(t)].mean() for t in truth]), hour / 24


def test_the_chain_takes_a_drifting_instrument_back_to_the_scale():
    ds, second, air = instrument(12)
    config = Config.from_dict(document())
    result = run(ds, config)
    require(result, OBS)
    error, day = missed(result, second, air)
    assert np.abs(error[(day > 1) & (day < 10)]).max() < 0.1  # most of it the walk between two calibrations
    raw = run(ds, Config.from_dict({**document(), "species": {"co2": _uncalibrated()}}))
    assert np.abs(missed(raw, second, air)[0]).min() > 0.15
    # The last episode's values may still change, those between two may not.
    provisional = result["co2_provisional"].values
    assert provisional[0]
    assert not provisional[(day > 0.2) & (day < 10)].any()
    assert provisional[day > 10.2].all()
    # What it rests on is kept apart and grows with the distance to a calibration.
    u = result["co2_u_calibration"].values
    at = [int(np.argmin(np.abs(day - d))) for d in (0.2, 1.1, 10.2, 11.9)]
    assert u[at[1]] > u[at[0]]
    assert u[at[3]] > u[at[2]]
    np.testing.assert_allclose(result["co2_u_shared"].values, np.hypot(0.02, u), rtol=1e-3)
    assert (outcome(result["co2_tests"].values, Cause.CALIBRATION) == Outcome.GOOD).all()
    assert (outcome(result["co2_tests"].values, Cause.STATE) == Outcome.NOT_EVALUATED).all()  # no rule is configured
    assert "calibration" in result.attrs["processing"]


def _uncalibrated():
    return {"scale": "WMO CO2 X2019", "water": {"method": "none"}}


def test_without_an_episode_values_are_not_evaluated_and_kept():
    ds, _, _ = instrument(1)
    ds = ds.isel(time=ds["port"].values == "10")
    result = run(ds, Config.from_dict(document()), interval="minute")
    assert (result["co2_flag"].values == Flag.NOT_EVALUATED).mean() > 0.99  # the rest is being flushed
    assert (result["co2_cause"].values & Cause.CALIBRATION).all()
    each = rows(ds, Config.from_dict(document()))
    assert np.isfinite(each["co2"].values).all()
    assert "co2: calibration: not one episode with enough standards is known" in each.attrs["not_evaluated"]


def test_a_piece_with_the_calibrations_on_both_sides_gives_what_the_whole_gives():
    ds, _, _ = instrument(12)
    config = Config.from_dict(document())
    found = injections(ds, config)
    whole = run(ds, config, calibrations=calibrated(found, config))
    start, end = (np.datetime64((START + k * DAY) * NS, "ns") for k in (5, 6))
    margin = np.timedelta64(int(config.margin_seconds * 1e9), "ns")
    time = ds["time"].values
    part = ds.isel(time=(time >= start - margin) & (time < end + margin))
    until = int(np.searchsorted(found["co2"].end, (START + 8 * DAY) * NS))
    known = {"co2": type(found["co2"])(*(column[:until] for column in found["co2"]))}
    piece = run(part, config, calibrations=calibrated(known, config), start=start, end=end)
    inside = (whole["time"].values > start) & (whole["time"].values < end)
    assert piece.sizes["time"] == 24
    for name in piece.data_vars:
        assert piece[name].values.tobytes() == whole[name].values[inside].tobytes(), name


def test_a_calibration_rejected_by_hand_does_not_enter():
    ds, second, air = instrument(12)
    config = Config.from_dict(document())
    at = START + 4 * DAY
    ds["co2"].values[(second >= 4 * DAY + 3600) & (second < 4 * DAY + 3600 + 4800)] += 1.0  # the wrong pressure
    spoiled = run(ds, config)
    first, until = (np.datetime64(s * NS, "ns") for s in (at, at + 2 * 3600 + 1200))
    kept = run(ds, config, by_hand=[Entry(1, first, until, Flag.BAD, "Li Hua", "pressure regulator")])
    error, day = missed(spoiled, second, air)
    late = (day > 4.2) & (day < 5.9)
    assert np.abs(error[late]).max() > 0.5
    assert np.abs(missed(kept, second, air)[0][late]).max() < 0.15
    assert len(injections(ds, config, by_hand=[])["co2"].tank) - 8 == len(
        injections(ds, config, by_hand=[Entry(1, first, until, Flag.BAD, "a", "b")])["co2"].tank
    )


def test_the_target_is_found_again():
    ds, _, _ = instrument(30, noise=0.03, walk=0.005)
    config = Config.from_dict(document())
    found = injections(ds, config)["co2"]
    names = cylinders(config, "co2")
    assert names == ["tank2", "tank3", "tank4", "tank5"]
    own = found.tank == names.index("tank5")
    on_scale = apply(calibrated({"co2": found}, config)["co2"], found.start[own], found.mean[own])
    history = target.history(
        found.start[own], on_scale.value, found.stdev[own], found.minutes[own], np.full(own.sum(), TANKS["5"])
    )
    assert abs(history.bias.mean()) < 0.02
    assert history.cmr[-1] == pytest.approx(0.03 / np.sqrt(2), rel=0.3)  # two rows a minute


@pytest.mark.soak
def test_whole_chains_of_many_twins_are_as_sure_as_they_say():
    """One hour each of 200 instruments with tanks that are not quite what they are said to be."""
    pairs = []
    for seed in range(200):
        rng = np.random.default_rng(10_000 + seed)
        ds, second, air = instrument(
            24, seed=seed, walk=0.02, tank_error=dict(zip(TANKS, rng.normal(0, 0.01, 4), strict=True))
        )
        truth = {**document()}
        truth["species"]["co2"]["u_shared"] = {"scale": 1e-9}
        truth["species"]["co2"]["u_cmr"] = 0.05 / np.sqrt(2)
        result = run(ds, Config.from_dict(truth))
        error, day = missed(result, second, air)
        whole = np.flatnonzero((result["co2_n_minutes"].values == 60) & (day > 1) & (day < 21))
        hour = int(rng.choice(whole))
        pairs.append((error[hour], result["co2_uncertainty"].values[hour]))
    error, stated = np.array(pairs).T
    assert abs(error.mean()) < 0.02
    chi2 = ((error / stated) ** 2).sum()
    p = 2 * min(stats.chi2.cdf(chi2, error.size), stats.chi2.sf(chi2, error.size))
    rms = np.sqrt((error**2).mean())
    print(f"bias {error.mean():+.4f} ppm, rms {rms:.4f}, chi2 {chi2:.1f} of {error.size}, p {p:.3f}")
    assert p > 0.001


@pytest.mark.parametrize(
    ("calibration", "sentence"),
    [
        ({"standard": [{"port": "2", "cylinder": "other"}]}, "has no assigned value of 'other', which hangs at port 2"),
        ({"standard": [{"port": "2", "cylinder": "tank2", "start": "2026-02-01", "end": "2026-01-01"}]}, "end: is not"),
        ({"reject_first": "no"}, "reject_first: is 'no', expected true or false"),
        ({"gas": {"degree": 3}}, "degree: is 3, expected 0, 1 or 2"),
        ({"histori_days": 3}, "is not known, did you mean 'history_days'"),
    ],
)
def test_what_is_wrong_in_a_configuration_is_said_with_its_place(calibration, sentence):
    with pytest.raises(ConfigError, match=sentence):
        Config.from_dict(document(**calibration))
