"""The agent killed at every step, power cuts, a month offline, acknowledgements that fail: the database is exact.

What is in the database must be what the instrument's files say, each reading once, however the agent got there.
"""

import json
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from station_agent import rescue, spool
from station_agent.drivers import read_file
from tests.path import picarro_log
from tests.path.network import until
from tests.relay import PUBLISH, Relay, published

ROWS = 200
FRAME = 4096 + 24
WORKED = ("append", "freeze", "acknowledge")
"""The transactions of an agent that reads and delivers; `shed` and `redate` have tests of their own."""


class Faulty:
    """An agent whose files grow, killed and started again."""

    def __init__(self, network, request):
        self.network, self.root = network, request.config.rootpath
        self.configuration = network.configure("agent")
        self.folder = self.configuration.parent
        self.spool = self.folder / "spool.db"
        self.draw, self.logs = random.Random(11), []

    def grow(self, rows=ROWS, *, spacing=1.1):
        """Write one more file."""
        number = len(self.logs)
        first = datetime(2025, 7, 1, tzinfo=UTC) + timedelta(days=number) * (1 if spacing < 2 else 0)
        text = picarro_log.lines(0, rows, self.draw, start=first.timestamp(), spacing=spacing)
        self.logs.append(picarro_log.write(self.folder / f"DataLog_{number:03}.dat", text))

    def run(self, step="none", nth=1, *, copy=None, seconds=120):
        """Run it to its end, or to the step at which it dies; return its exit status."""
        script = self.root / "tests/path/faulty_agent.py"
        command = [sys.executable, script, self.configuration, step, str(nth), self.root]
        return subprocess.run([*command, *([copy] if copy else [])], check=False, timeout=seconds).returncode

    def deliver(self):
        assert self.run() == 0

    def check(self):
        """Compare the database with the files: every reading once, and nothing else."""
        network = self.network
        rows = network.query(
            "SELECT (extract(epoch FROM r.time) * 1000)::bigint * 1000000, c.quantity, r.value FROM reading r"
            " JOIN channel c ON c.id = r.channel_id"
        )
        stored = {(time, quantity): value for time, quantity, value in rows}
        assert len(stored) == len(rows)
        assert stored == {
            (s.time_ns, name): v for log in self.logs for s in read_file(log) for name, v in s.values.items()
        }
        assert network.query("SELECT count(*) FROM reading_aside") == [(0,)]
        assert network.query("SELECT count(*) FROM message WHERE state <> 'stored'") == [(0,)]
        assert network.query("SELECT count(*) FROM message GROUP BY station, digest HAVING count(*) > 1") == []


@pytest.fixture
def agent(network, request):
    return Faulty(network, request)


def test_killed_at_every_step(agent):
    steps = [step for step in spool.STEPS if step.startswith(WORKED)] + ["read", "published"]
    often = ("append", "read", "published")
    for step, nth in [*((step, 1) for step in steps), *((step, 2) for step in steps if step.startswith(often))]:
        agent.grow()
        agent.grow()
        assert agent.run(step, nth) == 9
        agent.deliver()
    agent.check()


def test_killed_while_the_spool_is_made(agent):
    """Without its spool the agent reads every file again, and the database has all of it already."""
    for step in [step for step in spool.STEPS if step.startswith("create")]:
        agent.grow()
        assert agent.run(step) == 9
        agent.deliver()
        for part in agent.folder.glob("spool.db*"):
            part.unlink()
    agent.check()


def test_killed_while_a_damaged_spool_is_replaced(agent):
    for step in rescue.STEPS:
        agent.grow()
        assert agent.run("published", 2) == 9  # some of it sent, none of it known to be stored
        assert agent.run(step) == 9
        with rescue.open_spool(agent.spool, station="lin-an", samples=60, report_to="g2301"):
            pass
        agent.deliver()
    agent.check()


@pytest.mark.parametrize(("step", "nth"), [("append: committed", 2), ("acknowledge: committed", 1), ("published", 3)])
def test_a_power_cut_and_the_server_knows_more(agent, tmp_path, step, nth):
    """The plug is pulled: the spool is as it was at a step, without some frames of its log; the server has it all."""
    agent.grow()
    agent.grow()
    assert agent.run(step, nth, copy=tmp_path) == 0
    log = (tmp_path / "spool.db-wal").read_bytes()
    whole = len(log) - (len(log) - 32) % FRAME
    for cut in (whole, whole - FRAME, whole - FRAME - 700, whole - 4 * FRAME):
        for part in agent.folder.glob("spool.db*"):
            part.unlink()
        agent.spool.write_bytes((tmp_path / "spool.db").read_bytes())
        agent.spool.with_name("spool.db-wal").write_bytes(log[: max(cut, 0)])
        agent.grow()
        agent.deliver()
    agent.check()


def test_a_month_without_a_broker(agent):
    agent.grow(30 * 1440, spacing=60.0)
    agent.network.broker.stop()
    process = agent.network.agent(agent.configuration)

    def all_spooled():
        if not agent.spool.exists():
            return False
        with closing(sqlite3.connect(f"file:{agent.spool}?mode=ro", uri=True)) as db:
            tables = db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'batch'").fetchone()[0]
            return tables and db.execute("SELECT sum(samples) FROM batch").fetchone()[0] == 30 * 1440

    until(all_spooled, "the month is spooled")
    assert process.poll() is None
    agent.network.end("agent", 9)
    agent.network.broker.start()
    agent.deliver()
    agent.check()


def test_a_broker_that_confirms_stores_nothing(agent):
    """The ingest is away: the broker takes every message, and the agent keeps every one."""
    agent.network.end("ingest", 15)
    agent.grow(600)
    agent.network.agent(agent.configuration)
    until(lambda: "not acknowledged in time" in agent.network.log("agent"), "the agent sends again")
    with closing(sqlite3.connect(f"file:{agent.spool}?mode=ro", uri=True)) as db:
        assert db.execute("SELECT sum(samples) FROM batch").fetchone()[0] == 600
    agent.network.end("agent", 15)
    agent.network.start_ingest()
    agent.network.wait_for_ingest()
    agent.deliver()
    agent.check()


class Spoiled:
    """Changes acknowledgements on their way to the agent.

    Parameters
    ----------
    spoil
        The acknowledgements of one message -> those that arrive instead.
    """

    def __init__(self, spoil):
        self.spoil, self.count = spoil, 0

    def __call__(self, back, kind, flags, body):
        if not back or kind != PUBLISH:
            return [body]
        head, payload = published(flags, body)
        said = json.loads(payload)
        changed = self.spoil(said)
        self.count += changed != said
        return [head + json.dumps(changed, separators=(",", ":")).encode()]


def lost(said):
    """Lose the later half of the acknowledgements, and that of a single one: some always have to come again."""
    return said[: len(said) // 2]


def of_other_bytes(said):
    """Turn the digest round: the number is right, the bytes are others."""
    return [[seq, digest[::-1], outcome] for seq, digest, outcome in said]


@pytest.mark.parametrize("spoil", [lost, of_other_bytes])
def test_acknowledgements_that_fail(agent, spoil):
    agent.grow(1200)
    broker, spoiled = agent.network.broker, Spoiled(spoil)
    with Relay((broker.host, broker.port), change=spoiled) as relay:
        text = agent.configuration.read_text().replace(f"port = {broker.port}", f"port = {relay.port}")
        agent.configuration.write_text(text.replace("resend = 2.0", "resend = 0.5"))
        agent.network.agent(agent.configuration)
        until(lambda: spoiled.count >= 3, "acknowledgements are spoiled")
        if spoil is of_other_bytes:
            with closing(sqlite3.connect(f"file:{agent.spool}?mode=ro", uri=True)) as db:
                assert db.execute("SELECT sum(samples) FROM batch").fetchone()[0] == 1200
        spoiled.spoil = list
        until(lambda: _empty(agent.spool), "the spool is empty")
    agent.network.end("agent", 15)
    agent.check()


def _empty(path):
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        pending, batches = (db.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("pending", "batch"))
        return pending == batches == 0
