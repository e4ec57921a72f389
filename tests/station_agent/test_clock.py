import ctypes
import json
import threading
import time

import pytest

from station_agent.agent import Agent
from station_agent.clock import EARLIEST_NS, Clock, Kernel, kernel, since_boot_ns
from station_agent.config import read_config
from station_agent.sources import open_source
from station_agent.spool import Spool
from tests.station_agent.picarro_text import text

S = 10**9


class Host:
    """A wall clock and a clock since boot, both in a test's hands."""

    def __init__(self, now=EARLIEST_NS + 100 * S):
        self.now, self.boot, self.said = now, 5 * S, Kernel(synchronised=True, offset=1e-4, max_error=0.02)

    def goes(self, seconds, *, stepped=0.0):
        """Let time pass, and set the wall clock by so much."""
        self.boot += round(seconds * S)
        self.now += round((seconds + stepped) * S)

    def clock(self, **options):
        return Clock(now_ns=lambda: self.now, boot_ns=lambda: self.boot, ask=lambda: self.said, **options)


@pytest.mark.parametrize("seconds", [3600.0, -3600.0, 1.0, -1.0, 1.5e9])
def test_a_step_is_seen_once_with_its_size(seconds):
    host = Host()
    clock = host.clock()
    host.goes(86_400)
    assert clock.look() is None
    host.goes(60, stepped=seconds)
    step = clock.look()
    assert (step.seconds, step.time_ns) == (seconds, host.now)
    host.goes(60)
    assert clock.look() is None
    assert clock.state()["last_step"] == {"time": step.time_ns // 10**6, "seconds": seconds}


def test_slewing_is_no_step():
    host = Host()
    clock = host.clock()
    for _ in range(5000):
        host.goes(1, stepped=5e-4)
        assert clock.look() is None
    assert clock.state()["steps"] == 0


def test_a_clock_without_battery_is_not_plausible_until_it_is_set():
    host = Host(now=0)
    clock = host.clock()
    assert not clock.plausible
    host.goes(30, stepped=EARLIEST_NS / S + 1000)
    assert clock.look().seconds == EARLIEST_NS / S + 1000
    assert clock.plausible
    # It stood at the time of the last shutdown: before what the spool knows.
    host.said = Kernel(synchronised=False, offset=0.0, max_error=16.0)
    assert not host.clock(earliest_ns=host.now + 1).plausible


def test_the_state_is_plain_json_also_where_the_kernel_says_nothing():
    host = Host()
    clock = host.clock()
    assert json.loads(json.dumps(clock.state())) == {
        "plausible": True,
        "settled": True,
        "synchronised": True,
        "offset": 1e-4,
        "max_error": 0.02,
        "steps": 0,
        "last_step": None,
    }
    host.said = None
    clock.look()
    assert clock.state()["synchronised"] is None


def test_the_real_clocks_are_asked_and_changed_nothing():
    before = time.time_ns() - since_boot_ns()
    said = kernel()
    if hasattr(ctypes.CDLL(None), "adjtimex"):
        assert said is None or (abs(said.offset) < 1000 and said.max_error >= 0)
    assert abs(time.time_ns() - since_boot_ns() - before) < S
    assert Clock().plausible


def test_a_pause_between_reading_the_two_clocks_is_no_step():
    host = Host()
    pauses = [0, 0, 5, 0, 0, 0]

    def boot():
        host.goes(pauses.pop() if pauses else 0)
        return host.boot

    clock = Clock(now_ns=lambda: host.now, boot_ns=boot, ask=lambda: None)
    pauses += [0, 0, 3, 0]
    assert clock.look() is None


def test_a_step_arrives_as_an_event(station, receiver):
    (station.data / "DataLog_1.dat").write_text(text(0, 100))
    host = Host()
    clock = host.clock()
    host.goes(10, stepped=-7.5)
    config = read_config(station.file)
    with Spool(config.spool.path, station="lin-an", samples=60) as spool:
        sources = [open_source(entry, {}) for entry in config.instruments]
        Agent(config, spool, sources, clock=clock).run(threading.Event(), until_drained=True)
    (event,) = receiver.events
    assert (event.event, event.t, event.detail["seconds"]) == ("clock_stepped", host.now // 10**6, -7.5)
    assert json.loads(receiver.statuses[-1])["clock_steps"] == 1
