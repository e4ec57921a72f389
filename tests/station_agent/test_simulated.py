import math
from itertools import pairwise
from statistics import stdev

import pytest

from station_agent.drivers.simulated import Simulator, read_settings, sample


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


def test_faults_are_named():
    faults = []
    read_settings({"start": "soon", "ports": [1], "interval": 0}, where="instrument[1]", faults=faults)
    assert faults == [
        "instrument[1].interval: got 0, expected a number, 0.001 to 3600.0",
        "instrument[1].ports: expected texts of 1 to 64 printable characters",
        "instrument[1].start: got 'soon', expected a time like 2026-01-01T00:00:00Z",
    ]
