"""A damaged spool is set aside, and what can be read of it goes on."""

import random
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from station_agent.errors import SpoolDamagedError
from station_agent.rescue import STEPS, open_spool
from station_agent.spool import Spool
from station_agent.wire import Kind, decode
from tests.station_agent.picarro_text import text
from tests.station_agent.spooled import reading

PAGE = 4096
BATCHES = 600


@pytest.fixture
def path(tmp_path):
    return tmp_path / "spool.db"


@pytest.fixture
def batches(path):
    """What a spool of many pages held before it was damaged; it is closed, all in one file."""
    with Spool(path, station="lin-an", samples=10) as spool:
        spool.append(reading(0, 10 * BATCHES + 3, offset=5))
        return spool.unsent(after=0, limit=10**6)


def rescued(path):
    """Open it; return (batches, events, the spool's pending, positions)."""
    with open_spool(path, station="lin-an", samples=10, report_to="g2301") as spool:
        found = spool.unsent(after=0, limit=10**6)
        events = [decode(batch.payload) for batch in found if batch.kind is Kind.EVENT]
        data = [batch for batch in found if batch.kind is Kind.DATA]
        spool.append(reading(10**6, 10**6 + 10))  # it works
        return data, events, spool.pending("g2301"), spool.positions("g2301")


def identities(batches):
    return [(batch.digest, batch.payload) for batch in batches]


def overwrite(path, at, data):
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)


def test_a_sound_spool_is_left_alone(path, batches):
    found, events, pending, positions = rescued(path)
    assert identities(found) == identities(batches)
    assert (events, pending, positions) == ([], 3, {"a.dat": {"offset": 5}})
    assert not list(path.parent.glob("*damaged*"))


@pytest.mark.parametrize(
    ("damage", "least"),
    [
        (lambda path: overwrite(path, 0, b"\0" * 100), 0),
        (lambda path: path.write_bytes(b"not a database at all" * 1000), 0),
        (lambda path: path.write_bytes(path.read_bytes()[: 20 * PAGE]), 0),
        (lambda path: drop(path, "position"), BATCHES),
        (lambda path: drop(path, "meta"), BATCHES),
        (lambda path: drop(path, "batch"), 0),
    ],
)
def test_what_can_be_read_is_carried_over(path, batches, damage, least):
    damage(path)
    found, events, _, _ = rescued(path)
    assert set(identities(found)) <= set(identities(batches))
    assert len(found) >= least
    (event,) = events
    assert event.event == "spool_set_aside"
    assert event.detail["batches"] == len(found)
    assert (path.parent / event.detail["file"]).exists()
    again, later, _, _ = rescued(path)  # once only
    assert identities(again)[: len(found)] == identities(found)
    assert later == events


def drop(path, table):
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"DROP TABLE {table}")


@pytest.mark.parametrize("seed", range(12))
def test_bad_pages_cost_what_is_on_them_at_most(path, batches, seed):
    """A page in the middle is noise: found while running, as the agent finds it."""
    draw = random.Random(seed)
    page = draw.randrange(2, path.stat().st_size // PAGE)
    overwrite(path, page * PAGE, draw.randbytes(PAGE))
    try:
        with Spool(path, station="lin-an", samples=10) as spool:
            seen = spool.unsent(after=0, limit=10**6)
            spool.positions("g2301")
    except SpoolDamagedError as error:
        from station_agent.rescue import set_aside  # noqa: PLC0415

        set_aside(path, str(error), station="lin-an", samples=10, report_to="g2301")
        found, events, _, _ = rescued(path)
        assert set(identities(found)) <= set(identities(batches))
        assert [event.event for event in events] == ["spool_set_aside"]
        assert len(found) > BATCHES / 3  # one page is not everything
    else:
        assert len(seen) >= BATCHES - 1  # the noise hit what nobody reads, or one payload: its digest tells


SCRIPT = """
import os, sys
from pathlib import Path
from station_agent.rescue import set_aside
def die(step):
    if step == sys.argv[2]:
        os._exit(9)
set_aside(Path(sys.argv[1]), "test", station="lin-an", samples=10, report_to="g2301", on_step=die)
"""


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("logged", [False, True])
def test_killed_at_each_step_nothing_readable_is_lost(path, step, logged):
    spool = Spool(path, station="lin-an", samples=10)
    spool.append(reading(0, 100, offset=9))
    batches = spool.unsent(after=0, limit=10**6)
    if logged:  # what is in the log only, as after a power cut
        copies = {name: (path.parent / name).read_bytes() for name in ("spool.db", "spool.db-wal")}
        spool.close()
        for name, data in copies.items():
            (path.parent / name).write_bytes(data)
    else:
        spool.close()
        drop(path, "position")
    died = subprocess.run([sys.executable, "-c", SCRIPT, str(path), step], check=False).returncode
    assert died == 9
    found, _, _, _ = rescued(path)
    assert identities(found) == identities(batches)


def test_the_agent_goes_on_with_a_new_spool(station, receiver):
    """The whole command: damaged between two runs, everything arrives."""
    (station.data / "a.dat").write_text(text(0, 100))
    station.drain()
    spool = station.folder / "spool.db"
    overwrite(spool, 0, b"\0" * 50)
    with (station.data / "a.dat").open("a") as file:
        file.write(text(100, 200).split("\n", 1)[1])
    code, _, said = station.call("run", "--until-drained")
    assert code == 0, said
    assert len({key[2] for key in receiver.readings}) == 200
    assert [event.event for event in receiver.events] == ["spool_set_aside"]
    assert not receiver.conflicts


@pytest.mark.parametrize(
    "spoil",
    [
        "UPDATE batch SET kind = 'dxta' WHERE id = 7",
        "UPDATE batch SET spool = X'00' WHERE id = 7",
        "UPDATE position SET state = '[1'",
        "UPDATE position SET state = '7'",
        "UPDATE position SET file = X'00'",
        "UPDATE pending SET instrument = X'00'",
        "UPDATE batch SET instrument = CAST(X'fffe' AS TEXT) WHERE id = 7",
        "UPDATE pending SET samples = CAST(X'fffe' AS TEXT)",
    ],
)
@pytest.mark.usefixtures("batches")
def test_rows_that_are_no_longer_ours_do_not_come_along(path, spoil):
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(spoil)
    from station_agent.rescue import set_aside  # noqa: PLC0415

    set_aside(path, "test", station="lin-an", samples=10, report_to="g2301")
    found, events, _, _ = rescued(path)
    assert len(found) >= BATCHES - 1
    assert [event.event for event in events] == ["spool_set_aside"]


@pytest.mark.parametrize(
    "spoil",
    [
        "UPDATE pending SET samples = CAST(X'fffe' AS TEXT)",
        "UPDATE pending SET samples = '[[1,'",
        "UPDATE meta SET value = 'x' WHERE key = 'next_seq'",
    ],
)
def test_a_text_that_cannot_be_read_is_damage(path, batches, spoil):
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(spoil)
    found, events, _, _ = rescued(path)
    assert identities(found) == identities(batches)
    assert [event.event for event in events] == ["spool_set_aside"]


@pytest.mark.usefixtures("batches")
def test_a_position_that_cannot_be_read_is_damage(path):
    with Spool(path, station="lin-an", samples=10) as spool:
        spool._db.execute("UPDATE position SET state = '[1'")
        with pytest.raises(SpoolDamagedError, match="position"):
            spool.positions("g2301")


@pytest.mark.parametrize(
    ("spoil", "missing"),
    [
        ("UPDATE pending SET samples = '[[1,'", ["pending"]),
        ("UPDATE batch SET payload = X'00' WHERE id = 3", ["batch"]),
        ("UPDATE batch SET instrument = 'G 2301' WHERE id = 3", ["batch"]),
        ("UPDATE position SET state = '[1'", ["position"]),
        ("UPDATE pending SET instrument = '../x'", ["pending"]),
    ],
)
@pytest.mark.usefixtures("batches")
def test_what_could_not_be_carried_over_is_named(path, spoil, missing):
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(spoil)
        db.execute("UPDATE meta SET value = 'x' WHERE key = 'next_seq'")
    found, (event,), *_ = rescued(path)
    assert event.detail["incomplete"] == missing
    assert len(found) == BATCHES - (missing == ["batch"])


@pytest.mark.usefixtures("batches")
def test_what_was_given_up_stays_counted(path):
    with Spool(path, station="lin-an", samples=10) as spool:
        spool.shed(100, thin=False)
        lost = spool.lost_samples
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE meta SET value = 'x' WHERE key = 'next_seq'")
    with open_spool(path, station="lin-an", samples=10, report_to="g2301") as spool:
        assert spool.lost_samples == lost > 0
    with Spool(path, station="lin-an", samples=10) as spool:
        assert spool.lost_samples == lost


def test_a_row_that_a_damaged_index_gives_twice_is_taken_once(path, batches):
    row = (batches[0].digest, "s", 1, "g2301", "data", 10, 0, batches[0].payload)
    with Spool(path.with_name("other.db"), station="lin-an", samples=10) as spool:
        spool.adopt([row, row], {}, [])
        assert (spool.queue.batches, spool.queue.samples) == (1, 10)
