"""A station whose instruments are read live, without a broker: the agent runs, and the spool is looked into."""

import random
import socket
import time
from collections import Counter

from station_agent.agent import Agent
from station_agent.config import read_config
from station_agent.live.source import LiveSource
from station_agent.spool import Spool
from station_agent.wire import Event, decode


class Until:
    """Says stop when a condition holds, as an event does that is set then; fails when it takes too long."""

    def __init__(self, condition, *, seconds=120):
        self._condition = condition
        self._deadline = time.monotonic() + seconds

    def is_set(self):
        assert time.monotonic() < self._deadline, "what was waited for did not happen"
        return self._condition()


class LiveStation:
    """Configuration, agent and spool of one instrument called `live`."""

    def __init__(self, folder, table):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
        self.file = folder / "agent.toml"
        self.file.write_text(
            f'station = "lin-an"\n[broker]\nhost = "127.0.0.1"\nport = {port}\n[batch]\nsamples = 500\n'
            f'[[instrument]]\nname = "live"\n{table}\n'
        )
        self.config = read_config(self.file)
        self.instrument = self.config.instruments[0]

    def open_spool(self):
        return Spool(self.config.spool.path, station="lin-an", samples=self.config.batch.samples)

    def source(self, positions=()):
        return LiveSource(self.instrument, dict(positions), draw=random.Random(7), first=0.01, last=0.05)

    def run(self, condition, *, samples=0):
        """Run the agent until a condition holds and the spool has so many samples."""
        with self.open_spool() as spool:

            def done():
                return condition() and spool.queue.samples + spool.pending("live") >= samples

            source = self.source(spool.positions("live"))
            Agent(self.config, spool, [source], draw=random.Random(1)).run(Until(done))
            spool.freeze("live")

    def spooled(self):
        """Return (samples as (ms, values, port, status), events) of the spool, decoded."""
        samples, events = [], []
        with self.open_spool() as spool:
            for frozen in spool.unsent(after=0, limit=1_000_000):
                said = decode(frozen.payload)
                if isinstance(said, Event):
                    events.append(said)
                    continue
                for number, t in enumerate(said.t):
                    values = {name: row[number] for name, row in said.q.items() if row[number] is not None}
                    samples.append((t, values, said.port[number], said.status[number]))
        return samples, events


def flat(samples):
    """Return driver samples in the form in which the spool's are returned."""
    return [(sample.time_ns // 10**6, sample.values, sample.port, sample.status) for sample in samples]


def named(events):
    """Return how often each event is among these."""
    return Counter(event.event for event in events)
