import math
from itertools import pairwise
from statistics import stdev

import pytest

from station_agent.drivers.simulated import Simulator, read_settings, sample, silent


def settings(**options):
    faults = []
    got = read_settings(options, where="instrument[1]", faults=faults)
    assert not faults
    return got


SECOND = 10**9
NOW = 1_750_000_000 * SECOND


def test_a_sample_is_a_function_of_seed_and_number():
    assert sample(settings(seed=3), 77) == sample(settings(seed=3), 77)
    assert sample(settings(seed=3), 77) != sample(settings(seed=4), 77)


def test_samples_fall_due_as_the_clock_goes():
    simulator = Simulator(settings(interval=0.5))
    assert [s.time_ns for s in simulator.take(NOW, most=9)] == [NOW]
    assert list(simulator.take(NOW + SECOND // 4, most=9)) == []
    assert [s.time_ns for s in simulator.take(NOW + SECOND, most=9)] == [NOW + SECOND // 2, NOW + SECOND]


def test_an_interruption_changes_nothing():
    options = settings(start="2025-06-15T15:06:40Z", samples=25)
    whole = list(Simulator(options).take(NOW + 100 * SECOND, most=1000))
    simulator, parts = Simulator(options), []
    while simulator.left:
        parts += simulator.take(NOW + 100 * SECOND, most=7)
        simulator = Simulator(options, simulator.state())
    assert parts == whole
    assert len(whole) == 25
    assert whole[0].time_ns == NOW


def test_noise_and_spikes_are_what_was_asked_for():
    quiet = [sample(settings(spike_probability=0.0, co2_noise=0.05), k) for k in range(2000)]
    co2 = [s.values["co2"] for s in quiet]
    steps = [b - a for a, b in pairwise(co2)]
    assert stdev(steps) / math.sqrt(2) == pytest.approx(0.05, rel=0.1)
    spiky = [sample(settings(spike_probability=0.02, co2_noise=0.05), k).values["co2"] for k in range(2000)]
    raised = sum(b - a > 1.0 for a, b in zip(co2, spiky, strict=True))
    assert 20 < raised < 60


def test_ports_take_turns():
    options = settings(ports=["1", "2"], dwell=60.0)
    ports = [sample(options, 1_750_000_020 + k).port for k in range(180)]
    assert ports in (["1"] * 60 + ["2"] * 60 + ["1"] * 60, ["2"] * 60 + ["1"] * 60 + ["2"] * 60)


QUIET = {"co2_noise": 0.0, "ch4_noise": 0.0, "spike_probability": 0.0}
STANDARDS = [{"port": "11", "co2": 380.0, "ch4": 1800.0}, {"port": "12", "co2": 520.0, "ch4": 2500.0}]
CALIBRATION = {"every": 7200.0, "dwell": 600.0, "cycles": 2, "flush": 30.0, "standards": STANDARDS}
DAY = 19_676  # 2023-11-15


def at(options, second):
    """Return the sample of a second of the day."""
    return sample(options, DAY * 86_400 + second)


def test_a_drift_grows_by_the_day_and_begins_anew():
    still, drifting = settings(**QUIET), settings(**QUIET, co2_drift=0.5, ch4_drift=-2.0, drift_period=4.0)

    def error(day, quantity):
        k = (day * 2 + 1) * 43_200
        return sample(drifting, k).values[quantity] - sample(still, k).values[quantity]

    first = DAY // 4 * 4
    assert [error(first + day, "co2") for day in range(5)] == pytest.approx([-0.75, -0.25, 0.25, 0.75, -0.75])
    assert [error(first + day, "ch4") for day in range(5)] == pytest.approx([3.0, 1.0, -1.0, -3.0, 3.0])


def test_with_water_the_gases_are_seen_moist_and_the_makers_formula_gives_the_dry_ones_back():
    wet, dry = at(settings(water=True, h2o=2.0), 7), at(settings(h2o=2.0), 7)
    h = wet.values["h2o_reported"]
    assert wet.values["h2o"] == pytest.approx(0.772 * h + 0.019493 * h**2, rel=1e-12)
    assert (wet.values["co2_dry"], wet.values["ch4_dry"]) == (dry.values["co2"], dry.values["ch4"])
    assert wet.values["co2"] / (1 - 0.012 * h - 2.674e-4 * h**2) == pytest.approx(dry.values["co2"], rel=1e-12)
    assert wet.values["ch4"] / (1 - 0.00982 * h - 2.393e-4 * h**2) == pytest.approx(dry.values["ch4"], rel=1e-12)
    assert wet.values["co2"] < 0.98 * dry.values["co2"]


def test_standards_flow_in_their_sequence_and_the_cell_has_to_be_flushed():
    options = settings(**QUIET, ports=["1"], calibration=CALIBRATION)
    ports = [at(options, second).port for second in range(0, 7200, 600)]
    assert ports == ["11", "12", "11", "12"] + ["1"] * 8
    assert at(options, 599).values["co2"] == pytest.approx(380.0, abs=1e-6)
    assert at(options, 1199).values["ch4"] == pytest.approx(2500.0, abs=1e-4)
    # One time constant after the change 1/e of the gas before is left.
    assert at(options, 630).values["co2"] == pytest.approx(520.0 + (380.0 - 520.0) / math.e)
    assert at(options, 599).values["h2o"] < 0.01
    air = settings(**QUIET, ports=["1"])
    back = at(options, 2430).values["co2"] - at(air, 2430).values["co2"]
    assert back == pytest.approx((520.0 - at(air, 2430).values["co2"]) / math.e)
    assert at(options, 7199).values == pytest.approx(at(air, 7199).values)


def test_a_standard_has_no_spikes_but_the_instruments_drift():
    options = settings(spike_probability=1.0, co2_noise=0.0, calibration=CALIBRATION, co2_drift=1.0, drift_period=2.0)
    k = DAY * 86_400 + 590
    drift = (k / 86_400) % 2.0 - 1.0
    assert sample(options, k).values["co2"] == pytest.approx(380.0 + drift, abs=1e-4)


def test_an_outage_has_its_length_and_no_samples():
    options = settings(outages={"every": 3600.0, "lasts": 300.0}, samples=7200, start="2025-06-15T15:00:00Z")
    start = 1_750_000_000 - 400
    quiet = [k for k in range(start, start + 7200) if silent(options, k)]
    hours = {k // 3600: [m for m in quiet if m // 3600 == k // 3600] for k in quiet}
    assert [len(found) for found in hours.values()] == [300, 300]
    assert all(found[-1] - found[0] == 299 for found in hours.values())
    assert len({found[0] % 3600 for found in hours.values()}) == 2
    simulator, taken = Simulator(options), []
    while simulator.left:
        taken += simulator.take(NOW + 7200 * SECOND, most=100)
        simulator = Simulator(options, simulator.state())
    assert [s.time_ns // SECOND for s in taken] == [k for k in range(start, start + 7200) if k not in set(quiet)]


def test_faults_of_its_tables_are_named():
    faults = []
    calibration = {"every": 600, "standards": [{"port": "11", "co2": 400}], "dwel": 3}
    options = {"calibration": calibration, "outages": {"every": 60, "lasts": 60}, "water": 1}
    read_settings(options, where="instrument[1]", faults=faults)
    assert faults == [
        "instrument[1].water: got 1, expected true or false",
        "instrument[1].calibration.dwel: unknown key, did you mean 'dwell'?",
        "instrument[1].calibration.standards[1].ch4: missing",
        "instrument[1].calibration.every: got 600.0, expected more than the 600.0 s that the sequence lasts",
        "instrument[1].outages.lasts: got 60.0, expected less than every, 60.0",
    ]


def test_faults_are_named():
    faults = []
    read_settings({"start": "soon", "ports": [1], "interval": 0}, where="instrument[1]", faults=faults)
    assert faults == [
        "instrument[1].interval: got 0, expected a number, 0.001 to 3600.0",
        "instrument[1].ports: expected texts of 1 to 64 printable characters",
        "instrument[1].start: got 'soon', expected a time like 2026-01-01T00:00:00Z",
    ]
