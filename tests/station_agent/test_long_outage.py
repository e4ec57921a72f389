"""A month without a broker, then everything delivered; and acknowledgements that fail in each way they can."""

import random
import threading

import pytest

from deploy.local.broker import free_port
from station_agent import sizing, wire
from station_agent.agent import Agent
from station_agent.config import read_config
from station_agent.drivers.quantities import UNITS
from station_agent.sources import open_source
from station_agent.spool import Spool
from tests.station_agent.conftest import wait_until
from tests.station_agent.receiver import Receiver
from tests.station_agent.spooled import reading

START = 1_767_225_600
DAYS, QUANTITIES = 30, tuple(UNITS)[:20]
SAMPLES = DAYS * 1440
INSTRUMENT = '[[instrument]]\nname = "mast"\ndriver = "delimited"\npath = "data/*.csv"\npoll = 0.05\n' + (
    'time = { columns = ["t"], format = "unix" }\ncolumns = ['
    + ", ".join(f'{{ name = "{name}", quantity = "{name}", unit = "{UNITS[name]}" }}' for name in QUANTITIES)
    + "]\n"
)


def month(path):
    """Write a month of minutes whose digits do not repeat; return what it says: (instrument, quantity, ms) -> value."""
    draw, values = random.Random(7), {}
    with path.open("w") as file:
        print("t", *QUANTITIES, sep=",", file=file)
        for minute in range(SAMPLES):
            row = [round(draw.gauss(400.0, 5.0), 6) for _ in QUANTITIES]
            print(START + 60 * minute, *row, sep=",", file=file)
            for name, value in zip(QUANTITIES, row, strict=True):
                values["mast", name, (START + 60 * minute) * 1000] = value
    return values


def spool_of(station):
    config = read_config(station.file)
    return Spool(config.spool.path, station=config.station, samples=config.batch.samples)


class Until(threading.Event):
    """A wish to stop that comes with a condition, looked at once a turn of the loop."""

    def __init__(self, condition):
        super().__init__()
        self._condition = condition

    def is_set(self):
        return self._condition()


def outage(station):
    """Run the agent in this process against a port nobody listens at, until all of the file is spooled."""
    config = read_config(station.file)
    with spool_of(station) as spool:
        sources = [open_source(entry, spool.positions(entry.name)) for entry in config.instruments]
        stop = Until(lambda: spool.queue.samples + spool.pending("mast") >= SAMPLES)
        Agent(config, spool, sources, draw=random.Random(1)).run(stop)
        assert (spool.queue.batches, spool.queue.samples, spool.lost_samples) == (SAMPLES // 60, SAMPLES, 0)
        return spool.used_bytes


def configure(station, **options):
    """Configure a station whose batches wait an hour to fill."""
    station.configure(instruments=INSTRUMENT, **options)
    station.file.write_text(station.file.read_text().replace("seconds = 0.3", "seconds = 3600"))


def test_a_month_without_a_broker_arrives_whole(station, receiver):
    port, station.port = station.port, free_port()
    configure(station)
    values = month(station.data / "month.csv")
    used = outage(station)
    predicted = sizing.made_up(read_config(station.file), per_second=1 / 60, quantities=len(QUANTITIES))
    assert predicted.samples_batch == 60
    assert used / SAMPLES == pytest.approx(predicted.stored_sample, rel=0.2)
    assert receiver.messages == {}
    station.port = port
    configure(station, resend=30.0)
    station.drain()
    assert receiver.readings == values
    assert (sum(len(batch.t) for batch in receiver.batches), receiver.conflicts, receiver.events) == (SAMPLES, [], [])
    with spool_of(station) as spool:
        assert spool.empty


# --- acknowledgements that fail --------------------------------------------------------------

BATCHES = 120


class Faulty(Receiver):
    """A server that stores what comes, and whose acknowledgements may be lost or name another digest."""

    lost_every = 0
    wrong = False
    count = 0

    def _keep(self, topic, payload):
        said = super()._keep(topic, payload)
        self.count += 1
        if self.lost_every:
            self.answer = self.count % self.lost_every != 0
        if self.wrong:
            return wire.Acknowledgement(said.seq, wire.digest(payload + b" "), said.outcome)
        return said


class Draining:
    """The agent delivering a spool of `BATCHES` batches, in a thread, while the server misbehaves."""

    def __init__(self, station):
        station.configure(samples=10, resend=0.2, instruments=INSTRUMENT)
        self._station, self.stop, self.failed = station, threading.Event(), None
        self.queues = []
        with spool_of(station) as spool:
            spool.append(reading(0, 10 * BATCHES, instrument="mast"))
            self.digests = {batch.digest for batch in spool.unsent(after=0, limit=BATCHES)}
        self.thread = threading.Thread(target=self._run)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join(20)
        assert self.failed is None

    def _run(self):
        try:
            config = read_config(self._station.file)
            with spool_of(self._station) as spool:
                agent = Agent(
                    config, spool, [], draw=random.Random(1), on_step=lambda _: self.queues.append(spool.queue.batches)
                )
                agent.run(self.stop, until_drained=True)
                self.queues.append(spool.queue.batches)
        except BaseException as error:  # noqa: BLE001 - told in the test's thread
            self.failed = error

    def arrived(self, server):
        """Check that all was delivered and nothing came twice."""
        wait_until(lambda: not self.thread.is_alive(), seconds=40, what="the end of delivery")
        assert self.queues[-1] == 0
        assert {digest for _, digest in server.messages} == self.digests
        assert len(server.batches) == BATCHES
        assert server.readings == {("mast", "co2", s * 1000): 400.0 + s for s in range(10 * BATCHES)}
        assert (server.conflicts, server.rekeyed) == ([], {})


@pytest.fixture
def server(mosquitto):
    with Faulty(mosquitto.host, mosquitto.port) as server:
        yield server


def test_a_broker_that_confirms_is_not_a_server_that_stores(station, server):
    server.answer = False
    with Draining(station) as draining:
        wait_until(lambda: server.repeated > 5, what="sending again")
        assert set(draining.queues) == {BATCHES}
        server.answer = True
        draining.arrived(server)


def test_lost_acknowledgements_are_asked_for_again(station, server):
    server.lost_every = 3
    with Draining(station) as draining:
        draining.arrived(server)
    assert server.repeated >= BATCHES // 3


def test_an_acknowledgement_of_other_bytes_removes_nothing(station, server):
    server.wrong = True
    with Draining(station) as draining:
        wait_until(lambda: server.repeated > 5, what="sending again")
        assert set(draining.queues) == {BATCHES}
        server.wrong = False
        draining.arrived(server)
