"""Many stations at once against one worker: nothing lost, nobody waits, memory stays as it is."""

import time
from contextlib import contextmanager

import pytest

from ingest import catalogue
from ingest.migrate import migrate
from tests import servers
from tests.ingest import load
from tests.ingest.payloads import census


@contextmanager
def durable(kind):
    """Give the DSN of an empty database that keeps what it says it keeps."""
    if kind == "timescale":
        with servers.fresh_database(servers.timescale_server_dsn()) as dsn:
            yield dsn
    else:
        with servers.throwaway_folder() as folder, servers.Postgres(folder) as server:
            yield server.dsn


def played(capsys, kind, *, stations, interval, seconds):
    """Play a network; return the lags' percentiles (s) and the worker's memory after a third and at the end (MB)."""
    names = [f"station-{number:04}" for number in range(stations)]
    with durable(kind) as dsn, servers.throwaway_broker() as broker:
        migrate(dsn)
        catalogue.apply(dsn, load.document(names))
        server = load.server_pid(dsn)
        with load.working(dsn, broker) as worker:
            network = load.Load(broker, names, interval=interval)
            network.listen()
            try:
                time.sleep(3)  # the worker subscribes: a test has no agent that sends again
                before, started = load.sizes(dsn), time.monotonic()
                cpu = worker.cpu_s, load.server_cpu_s(server), load.cpu_s(broker.pid)
                count = network.play(seconds / 3)
                early = worker.rss_mb
                count += network.play(seconds * 2 / 3)
                network.settle()
                late, wall = worker.rss_mb, time.monotonic() - started
                spent = worker.cpu_s - cpu[0], load.server_cpu_s(server) - cpu[1], load.cpu_s(broker.pid) - cpu[2]
                after = load.sizes(dsn)
            finally:
                network.close()
        found = census(dsn)
    readings = count * load.READINGS
    assert (found["stored"], found["rows"], found["aside"], found["rows_aside"]) == (count, readings, 0, 0)
    lags = load.percentiles(network.lags)
    with capsys.disabled():
        print()
        print(load.figure("load.readings_per_s", round(readings / wall), "readings/s", stations=stations, store=kind))
        print(load.figure("load.lag_s", lags[2], "s", median=lags[0], p99=lags[1]))
        print(load.figure("load.worker_rss_mb", round(late, 1), "MB", early=round(early, 1)))
        for name, seconds_ in zip(("worker", "database", "broker"), spent, strict=True):
            print(load.figure(f"load.{name}_cpu_percent", round(100 * seconds_ / wall, 1), "% of a core"))
        for name, size in after.items():
            print(load.figure(f"load.{name}_bytes", round((size - before[name]) / readings, 2), "bytes/reading"))
    return lags, early, late


LEVELS = pytest.mark.parametrize("kind", ["plain", pytest.param("timescale", marks=pytest.mark.timescale)])


@LEVELS
@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_thousand_stations_for_ten_minutes(capsys, kind):
    lags, early, late = played(capsys, kind, stations=1000, interval=60.0, seconds=600)
    assert lags[2] < 5
    assert late < early * 1.1


@LEVELS
def test_two_hundred_stations_in_a_hurry(capsys, kind):
    """The short form: as many batches a second, for twelve seconds; how long they took is printed, not judged."""
    played(capsys, kind, stations=200, interval=12.0, seconds=12)
