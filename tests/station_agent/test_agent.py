import json
import signal
import subprocess
import sys
import threading
import time

import pytest

from station_agent.agent import Agent
from station_agent.config import read_config
from station_agent.drivers import parse_line, read_file
from station_agent.errors import DriverError
from station_agent.sources import open_source
from station_agent.spool import Spool
from tests.station_agent.conftest import Station, wait_until
from tests.station_agent.picarro_text import START, row, text
from tests.station_agent.receiver import Receiver
from tests.station_agent.spooled import reading


def expected(*paths):
    """Return what the files say: (instrument, quantity, ms) -> value."""
    values = {}
    for path in paths:
        for sample in read_file(path, "picarro"):
            for name, value in sample.values.items():
                values["g2301", name, sample.time_ns // 10**6] = value
    return values


def log_file(station, number, first, last):
    path = station.data / f"DataLog_{number}.dat"
    path.write_text(text(first, last))
    return path


def threads():
    return {thread.name for thread in threading.enumerate() if not thread.name.startswith(("MainThread", "paho"))}


# --- the whole way ---------------------------------------------------------------------------


def test_the_real_hour_arrives_exactly(shared, station, receiver):
    source = shared / "data/instruments/picarro_g2301_hour.dat"
    (station.data / source.name).write_bytes(source.read_bytes())
    code, _, said = station.call("run", "--until-drained")
    assert (code, "3618 samples read, 0 lines kept aside, 61 batches acknowledged" in said) == (0, True)
    assert receiver.readings == expected(source)
    assert sum(name == "co2" for _, name, _ in receiver.readings) == 1206
    assert (receiver.conflicts, receiver.repeated, receiver.events) == ([], 0, [])
    # Again, live: nothing is new. Again, by file: sent, and every value is the one that is there.
    station.drain()
    assert len(receiver.batches) == 61
    assert station.call("replay", "--instrument", "g2301", source)[0] == 0
    assert len(receiver.batches) == 122
    assert receiver.readings == expected(source)
    assert receiver.conflicts == []
    assert station.status()["queue_batches"] == 0


def test_a_running_agent_follows_and_stops_when_told(station, receiver, ended):
    path = log_file(station, 1, 0, 100)
    agent = station.start("run")
    wait_until(lambda: len(receiver.readings) == len(expected(path)))
    with path.open("a") as file:
        file.write(row(100) + "\n" + row(101)[:99])
    wait_until(lambda: receiver.readings.keys() == expected(path).keys())
    second = station.call("replay", "--instrument", "g2301", path)
    assert second[0] == 1
    assert f"another station-agent (process {agent.pid}) has this spool open; stop it first" in second[2]
    code, said = ended(agent)
    assert (code, "Traceback" in said) == (0, False)
    assert json.loads(receiver.statuses[-1])["state"] == "stopped"
    assert station.status()["positions"] == {"g2301": {path.name: path.stat().st_size - 99}}


def test_ctrl_c_stops_it_too(station, mosquitto, ended):
    mosquitto.stop()
    agent = station.start("run")
    time.sleep(1.0)
    code, said = ended(agent, signal.SIGINT)
    assert code == 0
    assert f"no connection to {mosquitto.host}:{mosquitto.port}" in said
    assert "Traceback" not in said


SIMULATED_AND_DELIMITED = """
[[instrument]]
name = "sim"
driver = "simulated"
samples = 500
start = "2026-01-01T00:00:00Z"
[[instrument]]
name = "met"
driver = "delimited"
path = "data/*.csv"
columns = [{name = "T", quantity = "ambient_temperature", unit = "K"}]
time = {columns = ["when"], format = "iso"}
"""


def test_two_instruments_and_the_simulation(station, receiver):
    station.configure(instruments=SIMULATED_AND_DELIMITED)
    (station.data / "met.csv").write_text("when,T\n2026-01-01T00:00:00Z,273.15\n2026-01-01T00:01:00Z,x\n")
    station.drain()
    assert receiver.readings["met", "ambient_temperature", 1_767_225_600_000] == 0.0
    assert sum(key[:2] == ("sim", "co2") for key in receiver.readings) == 500
    assert [event.detail["reason"] for event in receiver.events] == ["column T: 'x' is not a number"]


def test_a_broken_line_arrives_with_what_it_takes_to_mend_it(station, receiver):
    lines = text(0, 50).splitlines()
    lines[20] = lines[20].replace("963", "9?3")
    lines[30] = lines[30][:77] + "\0" * 5
    path = station.data / "DataLog_1.dat"
    path.write_text("\n".join(lines) + "\n")
    station.drain()
    assert len(receiver.readings) == 2 * 48
    first, second = (event.detail for event in receiver.events)
    assert first == {
        "driver": "picarro",
        "options": {},
        "file": "DataLog_1.dat",
        "line": 21,
        "header": lines[0],
        "text": lines[20],
        "reason": "column INST_STATUS is '9?3', expected a number",
    }
    assert second["text"].endswith("\\x00" * 5)
    assert [event.t for event in receiver.events] == [(START + 18) * 1000, (START + 28) * 1000]
    with pytest.raises(DriverError):
        parse_line(first["text"], first)
    (sample,) = parse_line(first["text"].replace("?", "6"), first)
    assert sample.time_ns == (START + 19) * 10**9


def test_another_driver_reads_the_files_from_their_start(station, receiver):
    """A station is tried with a simulation first; a wrong driver is put right."""
    simulated = '[[instrument]]\nname = "g2301"\ndriver = "simulated"\nsamples = 5\nstart = "2025-01-01"\n'
    delimited = (
        '[[instrument]]\nname = "g2301"\ndriver = "delimited"\npath = "data/*.dat"\nseparator = " "\n'
        'columns = [{ name = "CO2", quantity = "co2", unit = "ppm" }]\n'
        'time = { columns = ["EPOCH_TIME"], format = "unix" }\n'
    )
    path = log_file(station, 1, 0, 30)
    station.configure(instruments=simulated)
    station.drain()
    station.configure()
    station.drain()
    assert expected(path).items() <= receiver.readings.items()
    for instruments in (delimited, None, simulated):
        station.configure(instruments=instruments)
        station.drain()
    assert expected(path).items() <= receiver.readings.items()


def test_what_the_server_does_not_take_holds_up_nothing_else(station, mosquitto):
    """A station's quota of what is kept aside is full: one instrument is not in the catalogue, the other is."""

    class Picky(Receiver):
        def _on_message(self, client, data, message):
            if "/stray/" not in message.topic:
                super()._on_message(client, data, message)

    instruments = "".join(
        f'[[instrument]]\nname = "{name}"\ndriver = "simulated"\nsamples = {samples}\nstart = "2025-01-01"\n'
        for name, samples in (("stray", 8), ("g2301", 30))
    )
    few = "max_inflight = 4\nmax_unacknowledged = 8"
    station.configure(samples=1, extra=few, resend=0.2, instruments=instruments)
    with Picky(mosquitto.host, mosquitto.port) as receiver:
        station.start("run")
        wait_until(lambda: len(receiver.batches) == 30, what="delivery of the other instrument's batches")
        wait_until(lambda: station.status()["queue_batches"] == 8)
        assert station.status()["queued"] == {"stray": 8}


def test_an_unfinished_last_line_is_left_by_a_run_and_kept_aside_by_a_replay(station, receiver):
    path = log_file(station, 1, 0, 9)
    with path.open("a") as file:
        file.write(row(9)[:120])
    code, _, said = station.call("run", "--until-drained")
    assert code == 0
    assert "DataLog_1.dat: 120 bytes after the last line end were left" in said
    assert receiver.events == []
    assert station.call("replay", "--instrument", "g2301", path)[0] == 0
    (event,) = receiver.events
    assert event.detail["reason"] == "the file ends in the middle of this line"
    assert receiver.readings.keys() == expected(path).keys()


def test_a_replay_of_another_file_is_refused_before_anything_is_read(station, shared):
    path = shared / "data/instruments/lgr_ugga.csv"
    code, _, said = station.call("replay", "--instrument", "g2301", path)
    assert (code, "is not what instrument 'g2301' (picarro) writes" in said) == (1, True)
    code, _, said = station.call("replay", "--instrument", "g2301", path.with_name("aqmesh_co2.csv"))
    assert (code, "no driver recognises this file" in said) == (1, True)
    code, _, said = station.call("replay", "--instrument", "g2401", path)
    assert (code, "there is no instrument 'g2401', there are g2301" in said) == (1, True)


# --- when things go wrong --------------------------------------------------------------------


def test_confirmed_by_the_broker_is_not_stored(station, mosquitto):
    """PUBACK without storage: everything stays, and is sent again until the server says it has it."""
    log_file(station, 1, 0, 300)
    with Receiver(mosquitto.host, mosquitto.port, answer=False) as receiver:
        agent = station.start("run", "--until-drained")
        wait_until(lambda: receiver.repeated >= 5)
        assert agent.poll() is None
        assert station.status()["queue_batches"] == 5
        receiver.answer = True
        _, said = agent.communicate(timeout=60)
    assert agent.returncode == 0
    assert "5 batch(es) not acknowledged in time, sent again" in said
    assert len(receiver.messages) == 5
    assert station.status()["queue_batches"] == 0


def test_a_broker_that_dies_and_forgets(station, mosquitto):
    paths = [log_file(station, number, 1000 * number, 1000 * number + 1000) for number in range(4)]
    with Receiver(mosquitto.host, mosquitto.port) as receiver:
        station.configure(samples=5)
        agent = station.start("run", "--until-drained")
        for _ in range(2):
            seen = len(receiver.batches)
            wait_until(lambda seen=seen: len(receiver.batches) > seen + 30, what="progress")
            mosquitto.kill()
            mosquitto.lose_sessions()
            mosquitto.start()
        _, said = agent.communicate(timeout=100)
    assert agent.returncode == 0
    assert "next attempt in" in said
    assert receiver.readings == expected(*paths)
    assert receiver.conflicts == []


def test_killed_again_and_again_each_reading_arrives_once(station, receiver):
    station.configure(samples=7)
    paths = [log_file(station, number, 600 * number, 600 * number + 600) for number in range(3)]
    for fatal in [("read", 1), ("read", 2), ("published", 1), ("published", 30), ("published", 100), ("none", 0)]:
        command = [sys.executable, "-c", KILLED, str(station.file), *map(str, fatal)]
        done = subprocess.run(command, check=False, timeout=60)
        assert done.returncode == (0 if fatal == ("none", 0) else 9)
    assert receiver.readings == expected(*paths)
    assert receiver.conflicts == []
    times = [time for batch in receiver.batches for time in batch.t]
    assert len(times) == len(set(times)) == 1800
    assert len(set(receiver.taken)) == len(receiver.messages)


KILLED = """
import os, sys, threading
from pathlib import Path
from station_agent.agent import Agent
from station_agent.config import read_config
from station_agent.sources import open_source
from station_agent.spool import Spool

fatal, nth, seen = sys.argv[2], int(sys.argv[3]), 0
def step(name):
    global seen
    seen += name == fatal
    if name == fatal and seen == nth:
        os._exit(9)

config = read_config(Path(sys.argv[1]))
with Spool(config.spool.path, station=config.station, samples=config.batch.samples) as spool:
    sources = [open_source(entry, spool.positions(entry.name)) for entry in config.instruments]
    Agent(config, spool, sources, on_step=step).run(threading.Event(), until_drained=True)
"""


def test_a_copied_spool_loses_and_doubles_nothing(station, receiver, mosquitto, ended):
    station.configure(samples=10)
    mosquitto.stop()
    log_file(station, 1, 0, 333)
    agent = station.start("run")
    wait_until(lambda: (station.folder / "spool.db").exists() and station.status()["queue_samples"] >= 330)
    assert ended(agent)[0] == 0
    other = station.copy("clone")
    mosquitto.start()
    paths = [log_file(station, 2, 1000, 1400), log_file(other, 2, 2000, 2500), station.data / "DataLog_1.dat"]
    first, second = station.start("run", "--until-drained"), other.start("run", "--until-drained")
    complaints = [process.communicate(timeout=100)[1] for process in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0)
    assert any("new spool id" in said for said in complaints)
    assert receiver.readings == expected(*paths)
    assert receiver.conflicts == []
    assert sum(receiver.rekeyed.values()) >= 1
    # 33 batches were in both spools with the same bytes: stored once. Nothing else is in two messages.
    times = [time for batch in receiver.batches for time in batch.t]
    assert len(times) - len(set(times)) <= 10


def test_reading_stops_at_the_quota_and_goes_on(station, mosquitto):
    station.configure(quota_mb=1, resend=5.0, samples=4)
    paths = [log_file(station, number, 4_000 * number, 4_000 * number + 4_000) for number in range(6)]
    with Receiver(mosquitto.host, mosquitto.port, answer=False) as receiver:
        agent = station.start("run", "--until-drained")
        wait_until(lambda: (station.folder / "spool.db").exists() and station.status()["reading"] == "stopped: quota")
        code, said, _ = station.call("status")
        assert (code, "FULL: reading stops" in said) == (0, True)
        time.sleep(0.5)
        status = station.status()
        assert 1_000_000 <= status["used_bytes"] < 2_000_000
        assert len(status["positions"]["g2301"]) < 6
        receiver.answer = True
        _, said = agent.communicate(timeout=120)
        assert "reading goes on" in said
    assert agent.returncode == 0
    assert receiver.readings == expected(*paths)


# --- how it is -------------------------------------------------------------------------------


def test_birth_heartbeat_and_last_will(station, receiver):
    station.configure(extra="[health]\nheartbeat = 1.0")
    log_file(station, 1, 0, 100)
    agent = station.start("run")
    wait_until(lambda: len(receiver.statuses) >= 3, what="the second heartbeat")
    birth, *_, beat = map(json.loads, receiver.statuses)
    assert birth["state"] == beat["state"] == "online"
    assert beat["read"] == 100
    assert beat["queue_batches"] == 0
    assert beat["queue_oldest"] is None
    assert beat["last"]["g2301"]["co2"] == [(START + 99) * 1000, 420.99]
    assert abs(beat["time"] / 1000 - time.time()) < 60
    agent.kill()
    agent.wait()
    wait_until(lambda: json.loads(receiver.statuses[-1])["state"] == "lost", what="the last will")
    assert json.loads(receiver.statuses[-1])["client"] == birth["client"]


def test_it_leaves_no_thread_behind(station, receiver):
    before = threads()
    log_file(station, 1, 0, 100)
    station.drain()
    assert threads() == before
    assert len(receiver.batches) == 2


def test_status_without_a_spool_is_a_sentence(tmp_path):
    station = Station(tmp_path / "x", "127.0.0.1", 1)
    code, _, said = station.call("status")
    assert (code, "there is no spool yet; it is made when the agent is first run" in said) == (1, True)


@pytest.mark.parametrize("order", ["oldest-first", "live-first"])
def test_what_is_new_need_not_wait_for_the_backlog(station, receiver, order):
    log_file(station, 1, 0, 3)
    station.configure(samples=1, extra=f'order = "{order}"\nmax_inflight = 1\nmax_unacknowledged = 1')
    config = read_config(station.file)
    with Spool(config.spool.path, station="lin-an", samples=1) as spool:
        spool.append(reading(0, 60))
        sources = [open_source(entry, {}) for entry in config.instruments]
        # It is connected before anything new is read.
        agent = Agent(config, spool, [])
        while not agent._delivery.connected:
            agent._delivery.step(0.05)
        for source in sources:
            agent._store(source.read(thorough=False))
        agent.run(threading.Event(), until_drained=True)
    times = [batch.t[0] // 1000 for batch in receiver.batches]
    backlog, place = [time for time in times if time < 60], next(i for i, time in enumerate(times) if time >= 60)
    assert backlog == list(range(60))
    assert place == 60 if order == "oldest-first" else place < 20
