import queue
import random
import sqlite3
from contextlib import closing
from types import SimpleNamespace

import pytest

from station_agent import rejections
from station_agent.agent import Agent
from station_agent.clock import EARLIEST_NS, PATIENCE_NS, Kernel
from station_agent.config import read_config
from station_agent.dating import MOST_HELD, Dating
from station_agent.drivers import delimited, parse_line, read_file
from station_agent.errors import AgentError, ConfigError, DriverError, SpoolUnwritableError
from station_agent.reading import Notice, Reading
from station_agent.sample import Mark, Sample
from station_agent.sources import Simulation
from station_agent.spool import STEPS, Spool
from station_agent.wire import Event, decode
from tests.station_agent.fake_instrument import Fake, TcpEnd
from tests.station_agent.live_station import LiveStation, Until
from tests.station_agent.test_clock import Host, S

SENSOR = """
driver = "delimited"
poll = 0.05
header = false
fields = ["T"]
columns = [{ name = "T", quantity = "ambient_temperature", unit = "degC" }]
time = { format = "arrival" }
"""
UNSET = 5 * 10**16  # 1971
TRUE = EARLIEST_NS + 10**16
STEPPED, UNCERTAIN = int(Mark.CLOCK_STEPPED), int(Mark.CLOCK_UNCERTAIN)


class Talker(Fake):
    """A sensor without a clock: says the lines it is given."""

    def __init__(self, end):
        super().__init__(end)
        self.lines = queue.SimpleQueue()

    def serve(self):
        self.say(b"0.0\r\n")  # it may be the end of a longer one, and is kept aside
        while not self.stop.is_set():
            try:
                self.say(f"{self.lines.get(timeout=0.02)}\r\n".encode())
            except queue.Empty:
                continue


@pytest.fixture
def host(monkeypatch):
    """A host that was started a moment ago without a battery: 1971, and nothing keeps its clock right."""
    host = Host(now=UNSET)
    host.said = Kernel(synchronised=False, offset=0.0, max_error=16.0)
    for module in (delimited, rejections):
        monkeypatch.setattr(module, "time", SimpleNamespace(time_ns=lambda: host.now))
    return host


@pytest.fixture
def path(tmp_path):
    return tmp_path / "spool.db"


def opened(path, **options):
    return Spool(path, station="lin-an", samples=10, **options)


def sensed(host, *values, moments=1):
    """Return a reading of a sensor, stamped by the host, a second between two values."""
    samples = []
    for value in values:
        samples.append(Sample(host.now, {"ambient_temperature": value}))
        host.goes(moments)
    return Reading("sensor", samples)


class Watched:
    """Clock, spool and what dates the samples, as the agent has them."""

    def __init__(self, host, spool, boot="this"):
        self.host, self.spool = host, spool
        self.clock = host.clock(boot=boot)
        self.dating = Dating(self.clock, spool, ["sensor"])

    def take(self, *values):
        reading = sensed(self.host, *values)
        self.spool.append(self.dating.read(reading, self.clock.look()), held=self.dating.standing("sensor"))

    def step(self, seconds):
        self.host.goes(0, stepped=seconds)
        step = self.clock.look()
        self.dating.move_pending(step)
        return step


def stored(spool):
    """Return (samples as (s since `TRUE`, value, mark), events) of the spool."""
    said = [decode(batch.payload) for batch in spool.unsent(after=0, limit=10**6)]
    batches = [batch for batch in said if not isinstance(batch, Event)]
    rows = [
        ((t - TRUE // 10**6) / 1000, value, mark)
        for batch in batches
        for t, value, mark in zip(batch.t, batch.q["ambient_temperature"], batch.mark, strict=True)
    ]
    return rows, [event for event in said if isinstance(event, Event)]


# --- the whole agent -------------------------------------------------------------------------


def test_a_sensor_without_a_clock_on_a_host_without_a_battery(tmp_path, host):
    """Lines come before the network has told the time: they wait, and are sent with the time they came at."""
    end = TcpEnd()
    station = LiveStation(tmp_path, SENSOR + end.address)
    with Talker(end) as talker, station.open_spool() as spool:

        def story():
            for number in range(5):
                talker.lines.put(20 + number)
                while spool.pending("live") < number + 1:
                    yield
                host.goes(10)
            for _ in range(20):  # long past the age at which a batch is frozen
                assert spool.queue.samples == 0
                yield
            host.goes(50, stepped=(TRUE - UNSET) / S)
            host.said = Kernel(synchronised=True, offset=0.0, max_error=0.01)
            while spool.queue.samples < 5:
                yield
            talker.lines.put(30)
            while spool.queue.samples + spool.pending("live") < 6:
                yield

        told = story()
        ended = Until(lambda: next(told, "end") == "end")
        station.file.write_text(station.file.read_text().replace("[batch]\n", "[batch]\nseconds = 0.1\n"))
        config = read_config(station.file)
        agent = Agent(config, spool, [station.source()], clock=host.clock(boot="this"), draw=random.Random(1))
        agent.run(ended)
        spool.freeze("live")
        rows, events = stored(spool)
    assert rows == [(10.0 * number, 20.0 + number, STEPPED) for number in range(5)] + [(100.0, 30.0, 0)]
    (step,) = [event for event in events if event.event == "clock_stepped"]
    assert (step.t, step.detail["seconds"]) == (host.now // 10**6, (TRUE - UNSET) / S)
    (aside,) = [event for event in events if event.event == "line_rejected"]
    assert aside.detail["clock"] == "not set"


# --- waiting ---------------------------------------------------------------------------------


def test_full_batches_wait_too_and_are_cut_when_the_clock_is_settled(path, host):
    with opened(path) as spool:
        watched = Watched(host, spool)
        watched.take(*range(25))
        assert (spool.queue.samples, spool.pending("sensor")) == (0, 25)
        assert not watched.dating.release()
        host.said = Kernel(synchronised=True, offset=0.0, max_error=0.01)
        watched.step((TRUE - UNSET) / S)
        assert watched.dating.release()
        assert not watched.dating.holds("sensor")
        spool.freeze("sensor")
        assert (spool.queue.batches, spool.held) == (3, None)
        assert stored(spool)[0] == [(float(number), float(number), STEPPED) for number in range(25)]


def test_a_clock_nobody_sets_is_waited_for_ten_minutes(path, host):
    host.now = TRUE
    with opened(path) as spool:
        watched = Watched(host, spool)
        assert watched.dating.holds("sensor")
        watched.take(1)
        host.goes(PATIENCE_NS / S)
        assert not watched.dating.holds("sensor")
        spool.freeze("sensor")
        assert stored(spool)[0] == [(0.0, 1.0, UNCERTAIN)]


def test_waiting_has_a_bound(path, host):
    with opened(path) as spool:
        watched = Watched(host, spool)
        watched.take(*range(MOST_HELD))
        assert not watched.dating.holds("sensor")
        watched.take(0)
        assert spool.queue.samples == MOST_HELD
        assert watched.dating.holds("sensor")


def test_what_the_instrument_stamps_waits_for_no_clock(path, host):
    with opened(path) as spool:
        watched = Watched(host, spool)
        assert not watched.dating.holds("g2301")
        sample = Sample(TRUE, {"co2": 400.0}, "1", 963)
        assert watched.dating.read(Reading("g2301", [sample]), None).samples == [sample]


def test_an_agent_that_is_to_end_does_not_wait(path, host):
    with opened(path) as spool:
        watched = Watched(host, spool)
        watched.dating.patient = False
        assert not watched.dating.holds("sensor")


# --- steps -----------------------------------------------------------------------------------


def settled(host):
    host.now, host.said = TRUE, Kernel(synchronised=True, offset=0.0, max_error=0.01)


@pytest.mark.parametrize("seconds", [3600.0, -3600.0])
def test_a_clock_that_was_right_and_is_set_by_hand_moves_nothing(path, host, seconds):
    settled(host)
    with opened(path) as spool:
        watched = Watched(host, spool)
        host.goes(100)
        watched.take(1, 2)
        assert not watched.step(seconds).corrects
        spool.freeze("sensor")
        assert stored(spool)[0] == [(100.0, 1.0, STEPPED), (101.0, 2.0, STEPPED)]


def test_times_that_a_clock_passes_twice_are_marked(path, host):
    settled(host)
    with opened(path) as spool:
        watched = Watched(host, spool)
        host.goes(7200)
        watched.step(-3600.0)
        watched.take(1)
        host.goes(3600)
        watched.take(2)
        spool.freeze("sensor")
        assert stored(spool)[0] == [(3600.0, 1.0, STEPPED), (7201.0, 2.0, 0)]


def test_an_excursion_marks_only_what_it_touches(path, host):
    settled(host)
    with opened(path) as spool:
        watched = Watched(host, spool)
        host.goes(100)
        watched.step(1e7)
        host.goes(10)
        watched.step(-1e7)
        watched.take(1)
        spool.freeze("sensor")
        assert stored(spool)[0] == [(110.0, 1.0, 0)]


def test_what_was_read_and_not_spooled_is_moved_once(path, host):
    with opened(path) as spool:
        watched = Watched(host, spool)
        unstored = [Reading("g2301", [Sample(TRUE, {"co2": 1.0})]), watched.dating.read(sensed(host, 1), None)]
        host.goes(0, stepped=1000.0)
        step = watched.clock.look()
        watched.dating.move_unstored(step, unstored)
        assert unstored[0].samples[0].time_ns == TRUE
        (sample,) = unstored[1].samples
        # Nothing keeps the clock right yet: it is still in doubt.
        assert (sample.time_ns, sample.mark) == (UNSET + 1000 * S, STEPPED | UNCERTAIN)


def test_a_sample_read_while_the_clock_was_set_is_as_after_it(path, host):
    with opened(path) as spool:
        watched = Watched(host, spool)
        before = Sample(host.now, {"ambient_temperature": 1.0})
        host.goes(0.1, stepped=500.0)
        after = Sample(host.now, {"ambient_temperature": 2.0})
        read = watched.dating.read(Reading("sensor", [before, after]), watched.clock.look())
        assert [sample.time_ns for sample in read.samples] == [UNSET + 500 * S, UNSET + round(500.1 * S)]


def test_a_disk_that_is_full_when_the_clock_is_set(tmp_path, host, monkeypatch):
    """The step is applied once, when the disk takes it, and to what was read before it only."""
    end = TcpEnd()
    station = LiveStation(tmp_path, SENSOR + end.address)
    with Talker(end) as talker, station.open_spool() as spool:
        redate, failures = spool.redate, iter([True, True, False])

        def refused(*arguments):
            if next(failures, False):
                raise SpoolUnwritableError("disk full")
            redate(*arguments)

        monkeypatch.setattr(spool, "redate", refused)

        def story():
            talker.lines.put(1)
            while not spool.pending("live"):
                yield
            host.goes(100, stepped=(TRUE - UNSET) / S)
            talker.lines.put(2)
            while spool.pending("live") < 2:
                yield

        told = story()
        ended = Until(lambda: next(told, "end") == "end")
        agent = Agent(station.config, spool, [station.source()], clock=host.clock(boot="this"), draw=random.Random(1))
        agent.run(ended)
        spool.freeze("live")
        assert [row[:2] for row in stored(spool)[0]] == [(0.0, 1.0), (100.0, 2.0)]


# --- stopped while it waits ------------------------------------------------------------------


def test_stopped_while_it_waits_and_set_meanwhile(path, host):
    with opened(path) as spool:
        Watched(host, spool).take(1, 2)
    host.goes(100, stepped=(TRUE - UNSET) / S)
    host.said = Kernel(synchronised=True, offset=0.0, max_error=0.01)
    with opened(path) as spool:
        watched = Watched(host, spool)
        assert watched.dating.recover("sensor")
        assert watched.dating.release()
        spool.freeze("sensor")
        assert stored(spool) == ([(0.0, 1.0, STEPPED), (1.0, 2.0, STEPPED)], [])
    with opened(path) as spool:
        assert not Watched(host, spool).dating.recover("sensor")


def test_the_machine_restarted_while_it_waits(path, host):
    with opened(path) as spool:
        Watched(host, spool).take(1, 2)
    with opened(path) as spool:
        watched = Watched(host, spool, boot="another")
        assert watched.dating.recover("sensor")
        assert spool.held is None
        rows, events = stored(spool)
    assert [(value, mark) for _, value, mark in rows] == [(1.0, UNCERTAIN), (2.0, UNCERTAIN)]
    assert [(event.event, event.detail) for event in events] == [("clock_unknown", {"samples": {"sensor": 2}})]


def test_a_disk_that_is_full_when_the_agent_starts_again(tmp_path, host, monkeypatch):
    """What waited is moved before anything is added to it."""
    end = TcpEnd()
    station = LiveStation(tmp_path, SENSOR + end.address)
    with station.open_spool() as spool:
        standing = host.clock(boot="this").standing
        spool.append(Reading("live", [Sample(UNSET, {"ambient_temperature": 1.0})]), held=standing)
    host.goes(100, stepped=(TRUE - UNSET) / S)
    host.said = Kernel(synchronised=True, offset=0.0, max_error=0.01)
    with Talker(end) as talker, station.open_spool() as spool:
        redate, failures = spool.redate, iter([True, True, False])

        def refused(*arguments):
            if next(failures, False):
                raise SpoolUnwritableError("disk full")
            redate(*arguments)

        monkeypatch.setattr(spool, "redate", refused)
        talker.lines.put(2)
        ended = Until(lambda: spool.pending("live") + spool.queue.samples == 2)
        agent = Agent(station.config, spool, [station.source()], clock=host.clock(boot="this"), draw=random.Random(1))
        agent.run(ended)
        spool.freeze("live")
        assert stored(spool)[0] == [(0.0, 1.0, STEPPED), (100.0, 2.0, 0)]


@pytest.mark.parametrize("step", [step for step in STEPS if step.startswith("redate")])
def test_killed_while_moving_the_samples_are_moved_once(path, host, step):
    class Killed(BaseException):
        pass

    def plug(name):
        if name == step and armed:
            raise Killed

    armed = []
    with opened(path, on_step=plug) as spool:
        watched = Watched(host, spool)
        watched.take(1)
        armed.append(True)
        with pytest.raises(Killed):
            watched.step(1000.0)
    with opened(path) as spool:
        watched = Watched(host, spool)
        watched.dating.recover("sensor")
        assert [sample.time_ns for sample in spool.held_samples("sensor")] == [UNSET + 1000 * S]


def test_a_standing_that_cannot_be_read_is_damage(path, host):
    with opened(path) as spool:
        Watched(host, spool).take(1)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE meta SET value = '[1]' WHERE key = 'held'")
    with pytest.raises(AgentError, match="cannot be opened"):
        opened(path)


# --- the clock before the last acknowledgement -----------------------------------------------


def test_a_clock_before_the_last_acknowledgement_is_not_set(host):
    host.now = TRUE
    assert not host.clock(earliest_ns=TRUE + 1).plausible
    host.said = Kernel(synchronised=True, offset=0.0, max_error=0.01)
    # The acknowledgement may itself have come under a clock that was ahead.
    assert host.clock(earliest_ns=TRUE + 1).plausible


def test_a_simulation_waits_for_the_clock(tmp_path, host):
    station = LiveStation(tmp_path, 'driver = "simulated"\n')
    source = Simulation(station.instrument, None, now_ns=lambda: host.now)
    assert source.read(thorough=False) is None
    host.now = TRUE
    assert source.read(thorough=False).samples[0].time_ns >= TRUE - S


# --- configuration ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('tcp = "', 'path = "a.csv"\n#', "time.format: 'arrival' is the time at which a live line comes"),
        ('format = "arrival"', 'format = "arrival", columns = ["T"]', "time.columns: got 1, format 'arrival' needs 0"),
        ('format = "arrival"', 'format = "iso"', "time.columns: missing"),
    ],
)
def test_arrival_is_for_live_lines(tmp_path, old, new, fault):
    station = LiveStation(tmp_path, SENSOR + 'tcp = "127.0.0.1:9"')
    station.file.write_text(station.file.read_text().replace(old, new))
    with pytest.raises(ConfigError) as told:
        read_config(station.file)
    assert fault in str(told.value)
    assert "\n" not in str(told.value)


def test_a_file_without_times_is_refused(tmp_path):
    station = LiveStation(tmp_path, SENSOR + 'tcp = "127.0.0.1:9"')
    (tmp_path / "a.csv").write_text("1\n2\n")
    with pytest.raises(DriverError, match="its lines have no time of their own"):
        read_file(tmp_path / "a.csv", "delimited", options=station.instrument.options)


def test_a_mended_line_has_the_time_it_came_at(tmp_path):
    station = LiveStation(tmp_path, SENSOR + 'tcp = "127.0.0.1:9"')
    detail = {"driver": "delimited", "options": station.instrument.options, "header": None, "arrived": TRUE}
    assert parse_line("21.5", detail) == [Sample(TRUE, {"ambient_temperature": 21.5})]


def test_an_event_before_the_clock_is_set_says_so(path, host):
    with opened(path) as spool:
        notice = Notice("line_rejected", UNSET, {"line": 1})
        read = Watched(host, spool).dating.read(Reading("g2301", notices=[notice]), None)
        assert read.notices == [Notice("line_rejected", UNSET, {"line": 1, "clock": "not set"})]
