"""A spool copied to a second agent of the same station: nothing lost, nothing doubled."""

import random
import shutil
import sqlite3
from contextlib import closing

import pytest

from station_agent.drivers import read_file
from tests.path import picarro_log
from tests.path.network import until


@pytest.fixture
def spooled(network):
    """An agent whose spool was filled while the broker was away, and the log it read."""
    configuration = network.configure("one")
    draw = random.Random(3)
    log = picarro_log.write(configuration.parent / "DataLog_User_1.dat", picarro_log.lines(0, 900, draw))
    network.broker.stop()
    process = network.agent(configuration)

    def frozen():
        spool = configuration.parent / "spool.db"
        if not spool.exists():
            return False
        with closing(sqlite3.connect(f"file:{spool}?mode=ro", uri=True)) as db:
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            return "batch" in tables and db.execute("SELECT count(*) FROM batch").fetchone()[0] >= 15

    until(frozen, "the agent fills its spool")
    assert process.poll() is None
    network.end("one", 9)
    return configuration, log, draw


def expected(*logs):
    return {(s.time_ns, name): value for log in logs for s in read_file(log) for name, value in s.values.items()}


def stored(network):
    rows = network.query(
        "SELECT (extract(epoch FROM r.time) * 1000)::bigint * 1000000, c.quantity, r.value FROM reading r"
        " JOIN channel c ON c.id = r.channel_id"
    )
    found = {(time, quantity): value for time, quantity, value in rows}
    assert len(found) == len(rows)
    return found


def test_the_copy_delivers_the_same_and_then_its_own(network, spooled):
    one, log, draw = spooled
    two = network.configure("two")
    for part in one.parent.glob("spool.db*"):
        shutil.copy(part, two.parent / part.name)
    # Both go on from the same place with readings of their own, under the same numbers of the same spool.
    shutil.copy(log, two.parent / log.name)
    picarro_log.append(log, picarro_log.lines(900, 300, draw))
    picarro_log.append(two.parent / log.name, picarro_log.lines(2000, 300, draw))
    network.broker.start()
    network.agent(one, "run", "--until-drained")
    network.deliver(two, "run", "--until-drained")
    assert network.processes.pop("one").wait(60) == 0
    assert stored(network) == expected(log, two.parent / log.name)
    assert network.query("SELECT count(*) FROM reading_aside") == [(0,)]
    spools = network.query("SELECT count(DISTINCT spool) FROM message WHERE state = 'stored'")
    assert spools[0][0] >= 2


def test_a_spool_restored_from_an_old_copy(network, spooled):
    one, log, draw = spooled
    kept = {part.name: part.read_bytes() for part in one.parent.glob("spool.db*")}
    network.broker.start()
    network.deliver(one, "run", "--until-drained")
    picarro_log.append(log, picarro_log.lines(900, 300, draw))
    network.deliver(one, "run", "--until-drained")
    before = stored(network)
    assert before == expected(log)
    for part in one.parent.glob("spool.db*"):
        part.unlink()
    for name, data in kept.items():
        (one.parent / name).write_bytes(data)
    network.deliver(one, "run", "--until-drained")
    assert stored(network) == before
