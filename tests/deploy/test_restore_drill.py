"""The database destroyed in mid-load and restored: what is there afterwards is held to the instruments' own files."""

import random
import re
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psycopg
import pytest
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from ingest import read
from station_agent import wire
from station_agent.drivers import read_file
from station_agent.wire import Kind, Outcome
from tests import servers
from tests.path import picarro_log
from tests.path.network import INSTRUMENT, Network, document, until

KINDS = ["plain", pytest.param("timescale", marks=pytest.mark.timescale)]
STATIONS = ("lin-an", "wuhan", "tai-an")
SYNCHRONOUS = Path(__file__).parents[2] / "deploy/postgresql/skyledger-wal.conf"
ENOUGH = 3_000
"""Readings before something is done, so that it is done in mid-load."""


class Load:
    """Instruments that go on writing their logs, until they are stopped."""

    def __init__(self, logs):
        self._logs = logs
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def _write(self):
        draw, row = random.Random(7), 0
        while not self._stop.wait(0.02):
            for log in self._logs.values():
                picarro_log.append(log, picarro_log.lines(row, 6, draw))
            row += 6

    def stop(self):
        self._stop.set()
        self._thread.join()


class Ear:
    """Hears every batch, and which were acknowledged, as an archive of messages would."""

    def __init__(self, broker):
        self.batches, self.acknowledged = {}, set()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.on_connect = lambda client, *_: client.subscribe(f"{wire.ROOT}/#", 1)
        self._client.on_message = self._hear
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()

    def _hear(self, _client, _data, message):
        topic = wire.parse_topic(message.topic)
        if topic.kind is Kind.ACK:
            said = wire.decode_acknowledgements(message.payload)
            self.acknowledged |= {(topic.station, one.digest) for one in said if one.outcome is Outcome.STORED}
        elif topic.kind is Kind.DATA:
            self.batches[topic.station, wire.digest(message.payload)] = (message.topic, message.payload)

    def say_again(self):
        """Feed all that was heard to the broker once more."""
        for topic, payload in self.batches.values():
            self._client.publish(topic, payload, 1).wait_for_publish(30)

    def close(self):
        self._client.disconnect()
        self._client.loop_stop()


class Drill:
    """A network under load, its backups, and what becomes of it."""

    def __init__(self, network, kind, folder):
        self.network = network
        self.backups = folder / "backups"
        self.ear = Ear(network.broker)
        self._bin = ["--bin", str(servers.timescale_programs())] if kind == "timescale" else []
        self._cluster = folder / "postgres/cluster"
        self.agents, self.logs = {}, {}
        for station in STATIONS:
            network.apply(document(station=station))
            self.agents[station] = network.configure(station, station=station)
            self.logs[station] = picarro_log.write(self.agents[station].parent / "DataLog_User_1.dat", "")

    def db(self, command, *words):
        line = [sys.executable, "-m", "deploy", "db", command, str(self.backups), *map(str, words), *self._bin]
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stream(self):
        self.network.start("wal", "deploy", "db", "wal", str(self.backups), "--dsn", self.network.dsn, *self._bin)
        until(lambda: "streaming the log" in self.network.log("wal"), "the log is streamed")

    def synchronous(self):
        settings = re.findall(r"^(\w+) = '(.*)'$", SYNCHRONOUS.read_text(), re.MULTILINE)
        assert len(settings) == 2
        with psycopg.connect(self.network.dsn, autocommit=True) as conn:
            for name, value in settings:
                conn.execute(f"ALTER SYSTEM SET {name} = '{value}'")
            conn.execute("SELECT pg_reload_conf()")
        until(
            lambda: self.network.query("SELECT FROM pg_stat_replication WHERE sync_state = 'sync'"),
            "the server waits for the stream",
        )

    def begin(self):
        self.network.start_ingest()
        self.network.wait_for_ingest()
        for configuration in self.agents.values():
            self.network.agent(configuration)
        return Load(self.logs)

    def after(self, more):
        """Wait until so many more readings are stored."""
        first = self.network.count()
        until(lambda: self.network.count() >= first + more, f"{more} more readings")

    def destroy(self):
        """End the server as a power cut does, and take its disk away."""
        self.network.database.kill()
        shutil.rmtree(self._cluster)

    def restore(self):
        subprocess.run(["chown", "-R", self._cluster.parent.owner(), self.backups], check=True)
        said = self.db("restore", "--to", self._cluster)
        self.network.database.start()
        return said

    def drain(self):
        """Let the agents deliver what they still have."""
        for station, configuration in self.agents.items():
            self.network.end(station)
            self.network.deliver(configuration, "run", "--until-drained")

    def stored(self):
        with psycopg.connect(self.network.dsn) as conn:
            return {(s, digest.hex()) for s, digest in conn.execute("SELECT station, digest FROM message")}


@contextmanager
def drilling(kind):
    servers.require_mosquitto()
    with (
        servers.throwaway_folder() as folder,
        Network(folder, broker_kind="mosquitto", **servers.server_options(kind)) as network,
    ):
        one = Drill(network, kind, folder)
        try:
            yield one
        finally:
            one.ear.close()


def readings(network, station):
    """All that is in the database, with the number of times it is there."""
    ds = read.readings(network.dsn, station=station, instrument=INSTRUMENT)
    return sorted(
        (int(time), str(name), float(value))
        for name in ds.data_vars
        if name not in ("port", "status", "mark")
        for time, value in zip(ds["time"].values.astype(int), ds[name].values, strict=True)
        if np.isfinite(value)
    )


def in_file(log):
    return sorted((s.time_ns, name, value) for s in read_file(log) for name, value in s.values.items())


def in_batches(payloads):
    return sorted(
        (ms * 10**6, name, value)
        for batch in map(wire.decode_batch, payloads)
        for name, column in batch.q.items()
        for ms, value in zip(batch.t, column, strict=True)
        if value is not None
    )


def exactly(drill, expected):
    """Assert that each station has these readings, each once, and nothing else is there."""
    for station in STATIONS:
        assert readings(drill.network, station) == expected[station]
    assert drill.network.count() == sum(map(len, expected.values()))
    assert drill.network.query("SELECT count(*) FROM reading_aside") == [(0,)]
    assert drill.network.query("SELECT count(*) FROM message WHERE state <> 'stored'") == [(0,)]


@pytest.mark.parametrize("kind", KINDS)
def test_with_the_stream_every_reading_is_there_exactly_once(kind):
    with drilling(kind) as drill:
        drill.stream()
        drill.synchronous()
        load = drill.begin()
        try:
            drill.after(ENOUGH)
            assert "the log after it is streamed" in drill.db("backup", "--dsn", drill.network.dsn)
            drill.after(ENOUGH)
            acknowledged = set(drill.ear.acknowledged)
            drill.destroy()
            said = drill.restore()
            assert "files of the log, up to its end" in said
            # What stations were told is stored, is: they keep it no more.
            assert acknowledged <= drill.stored()
            assert len(acknowledged) > 20
            drill.after(ENOUGH)  # ingest, the agents and the stream go on by themselves
        finally:
            load.stop()
        drill.drain()
        exactly(drill, {station: in_file(log) for station, log in drill.logs.items()})
        # And once more, from the same backup through the restored server's own log: the stream has no gap.
        drill.destroy()
        drill.restore()
        exactly(drill, {station: in_file(log) for station, log in drill.logs.items()})


@pytest.mark.parametrize("kind", KINDS)
def test_without_the_stream_what_was_acknowledged_after_the_backup_is_lost_and_nothing_else(kind):
    with drilling(kind) as drill:
        load = drill.begin()
        try:
            drill.after(ENOUGH)
            assert "no stream of the log" in drill.db("backup", "--dsn", drill.network.dsn)
            drill.after(ENOUGH)
            drill.destroy()
            drill.network.end("ingest", 9)  # what it acknowledges from here on would be of the restored server
            assert "is lost" in drill.restore()
            known = set(drill.ear.acknowledged)  # by now all that was said before has been heard
            lost = known - drill.stored()
            assert lost
            drill.network.start_ingest()
            drill.after(ENOUGH)
        finally:
            load.stop()
        drill.drain()
        until(lambda: set(drill.ear.batches) >= drill.stored(), "all batches were heard")
        batches = {key: payload for key, (_, payload) in drill.ear.batches.items()}
        assert drill.stored() == set(batches) - lost
        for station in STATIONS:
            mine = [payload for (whose, _), payload in batches.items() if whose == station]
            assert in_batches(mine) == in_file(drill.logs[station])
        kept = {key: payload for key, payload in batches.items() if key not in lost}
        exactly(drill, {station: in_batches(p for (s, _), p in kept.items() if s == station) for station in STATIONS})
        # An archive of messages brings them back; so do the instruments' own files.
        drill.ear.say_again()
        until(lambda: drill.stored() == set(batches), "what was lost is stored again")
        exactly(drill, {station: in_file(log) for station, log in drill.logs.items()})


@pytest.mark.parametrize("kind", KINDS)
def test_without_the_stream_the_instruments_files_bring_back_what_was_lost(kind):
    with drilling(kind) as drill:
        drill.db("backup", "--dsn", drill.network.dsn)
        load = drill.begin()
        try:
            drill.after(ENOUGH)
        finally:
            load.stop()
        drill.drain()
        drill.destroy()
        drill.restore()
        assert drill.network.count() == 0
        for station, configuration in drill.agents.items():
            words = ("replay", "--instrument", INSTRUMENT, str(drill.logs[station]))
            drill.network.deliver(configuration, *words)
        exactly(drill, {station: in_file(log) for station, log in drill.logs.items()})
