"""Killed with -9 at random, broker's sessions lost: every reading is in the database once."""

import random
import time

import numpy as np
import pytest

from ingest import read
from station_agent.drivers import read_file
from tests.path import picarro_log
from tests.path.network import INSTRUMENT, STATION

ROWS_A_ROUND = 300


def kill(network, configuration, victim: str) -> None:
    """Kill one of the four and bring it back."""
    if victim == "agent":
        network.end("agent", 9)
        network.agent(configuration)
    elif victim == "ingest":
        network.end("ingest", 9)
        network.start_ingest()
    elif victim == "broker":
        network.broker.kill()
        network.broker.lose_sessions()
        network.broker.start()
    else:
        network.database.kill()
        network.database.start()


def rounds(network, number: int, seed: int) -> None:
    draw = random.Random(seed)
    configuration = network.configure("agent")
    log = picarro_log.write(configuration.parent / "DataLog_User_1.dat", "")
    network.agent(configuration)
    for turn in range(number):
        picarro_log.append(log, picarro_log.lines(turn * ROWS_A_ROUND, ROWS_A_ROUND, draw))
        time.sleep(draw.uniform(0.0, 0.8))  # somewhere in the middle of reading, sending, storing or acknowledging
        victims = draw.sample(["agent", "ingest", "broker", "database"], k=draw.choice([1, 1, 2]))
        for victim in victims:
            kill(network, configuration, victim)
        if "broker" not in victims:  # its sessions are lost each round, whoever else was killed
            kill(network, configuration, "broker")
    network.end("agent", 15)
    network.deliver(configuration, "run", "--until-drained")
    check(network, log)


def check(network, log) -> None:
    samples = list(read_file(log))
    ds = read.readings(network.dsn, station=STATION, instrument=INSTRUMENT)
    expected = sorted((s.time_ns, name, value) for s in samples for name, value in s.values.items())
    found = sorted(
        (int(time), str(name), float(value))
        for name in ds.data_vars
        if name not in ("port", "status", "mark")
        for time, value in zip(ds["time"].values.astype(int), ds[name].values, strict=True)
        if np.isfinite(value)
    )
    assert found == expected
    assert network.count() == len(expected)
    assert network.query("SELECT count(*) FROM reading_aside") == [(0,)]
    assert network.query("SELECT count(*) FROM message WHERE state <> 'stored'") == [(0,)]


def test_twenty_rounds(network):
    rounds(network, 20, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_two_hundred_rounds(network):
    rounds(network, 200, seed=2)
