"""A power cut: what was fsynced is there, what was written after it is there in any prefix, or torn, or not at all."""

import random
from itertools import pairwise

import pytest

from station_agent.rescue import open_spool
from station_agent.spool import Spool
from station_agent.wire import Outcome
from tests.station_agent.spooled import answer, reading

SAMPLES = 4
WAL_HEADER, FRAME_HEADER = 32, 24
TABLES = {"meta": "key", "batch": "id", "pending": "id", "position": "instrument, file"}


def opened(path, **options):
    return Spool(path, **{"station": "lin-an", "samples": SAMPLES, "now_ms": lambda: 1_000, **options})


def contents(spool):
    """Return every row of every table."""
    return {
        table: spool._db.execute(f"SELECT * FROM {table} ORDER BY {order}").fetchall()
        for table, order in TABLES.items()
    }


def numbers(state):
    """Return (spool, number) -> digest of each batch."""
    return {(row[2], row[3]): row[1] for row in state["batch"]}


def first(spool, count, outcome=Outcome.STORED):
    return answer(spool.unsent(after=0, limit=count), outcome)


WALK = {
    "append": lambda spool: spool.append(reading(0, 11, offset=11)),
    "append, pending only": lambda spool: spool.append(reading(11, 12, offset=12, instrument="met")),
    "freeze": lambda spool: spool.freeze("g2301"),
    "acknowledge": lambda spool: spool.acknowledge(first(spool, 2)),
    "append many": lambda spool: spool.append(reading(12, 150, offset=150)),
    "shed": lambda spool: spool.shed(600, thin=False),
    "thin": lambda spool: spool.shed(600, thin=True),
    "rekey": lambda spool: spool.acknowledge(first(spool, 1, Outcome.REKEY)),
    "append after it": lambda spool: spool.append(reading(150, 160, offset=160)),
    "acknowledge all": lambda spool: spool.acknowledge(first(spool, 10**6)),
}


class Moment:
    """The files and what they hold after a step."""

    def __init__(self, name, spool, ever):
        # Reading the file drops this process's locks on it; nobody else wants them here.
        self.name, self.db = name, spool.path.read_bytes()
        self.wal = spool.path.with_name(spool.path.name + "-wal").read_bytes()
        self.state = contents(spool)
        self.ever = {**ever, **numbers(self.state)}
        self.page = spool._db.execute("PRAGMA page_size").fetchone()[0]


def walked(path, checkpoint=None):
    """Walk; return the moment after each step, with a checkpoint before each step where one is asked for."""
    with opened(path) as spool:
        moments = [Moment("made", spool, {})]
        for name, step in WALK.items():
            if checkpoint:
                assert spool._db.execute(f"PRAGMA wal_checkpoint({checkpoint})").fetchone()[0] == 0
                moments.append(Moment("checkpoint", spool, moments[-1].ever))
            step(spool)
            moments.append(Moment(name, spool, moments[-1].ever))
    return moments


def cuts(before, after):
    """Yield where a write of the log may have been cut: at each frame, and within it."""
    frame = FRAME_HEADER + after.page
    # A log begun anew is written over from its start.
    anew = after.wal[:WAL_HEADER] != before.wal[:WAL_HEADER]
    start = 0 if anew else len(before.wal)
    if anew:
        yield from (0, 7, 20)
        start = WAL_HEADER
    old = len(before.wal)
    end = len(after.wal) if len(after.wal) > old or not anew else _last_changed(before, after, frame)
    for at in range(start, end, frame):
        yield from (at, at + 9, at + FRAME_HEADER, at + FRAME_HEADER + 700, at + frame - 1)
    yield end


def _last_changed(before, after, frame):
    ends = range(WAL_HEADER + frame, len(after.wal) + 1, frame)
    return max(end for end in ends if after.wal[end - frame : end] != before.wal[end - frame : end])


def tails(before, cut):
    """Return what may stand after the cut: what stood there, nothing, zeros, garbage."""
    return {
        "old": before.wal[cut:],
        "zeros": bytes(5_000),
        "garbage": random.Random(cut).randbytes(9_000),
    }


def laid(folder, db, wal, shm=None):
    """Lay files as a restart finds them; return the spool's path."""
    folder.mkdir()
    path = folder / "spool.db"
    path.write_bytes(db)
    path.with_name("spool.db-wal").write_bytes(wal)
    if shm is not None:
        path.with_name("spool.db-shm").write_bytes(shm)
    return path


def check(spool, *moments):
    """Check that a spool opened after the cut holds what one of these moments held, and goes on; return which."""
    with spool:
        found = contents(spool)
        moment = next((moment for moment in moments if moment.state == found), moments[0])
        assert found == moment.state
        assert spool._db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        spool.append(reading(1000, 1007, offset=1007))
        spool.freeze("g2301")
        fresh = numbers(contents(spool))
        assert len(fresh) > len(numbers(moment.state))
        assert {key: fresh[key] for key in fresh.keys() & moment.ever.keys()} == numbers(moment.state)
    assert not list(spool.path.parent.glob("*damaged*"))
    return moment


def rescued(path):
    return open_spool(path, station="lin-an", samples=SAMPLES, report_to="g2301")


def test_each_commit_is_synced(tmp_path):
    with opened(tmp_path / "spool.db") as spool:
        assert spool._db.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        assert spool._db.execute("PRAGMA synchronous").fetchone()[0] >= 2


@pytest.mark.parametrize("checkpoint", [None, "PASSIVE", "TRUNCATE"])
def test_a_cut_anywhere_in_a_transaction_loses_it_whole_or_not_at_all(tmp_path, checkpoint):
    tried = lost = 0
    for before, after in pairwise(walked(tmp_path / "spool.db", checkpoint)):
        if after.name == "checkpoint":
            continue
        assert after.db == before.db
        places = sorted(set(cuts(before, after)))
        for cut in places:
            whole = cut == places[-1]
            for tail in tails(before, cut).values():
                tried += 1
                shm = [None, b"", random.Random(cut).randbytes(100)][tried % 3]
                folder = tmp_path / f"{tried}"
                path = laid(folder, before.db, after.wal[:cut] + tail, shm)
                spool = (opened, rescued)[tried // 3 % 2](path)
                # The last frames of a commit may be repeated to fill a sector: it is whole before its last byte.
                lost += check(spool, after, *(() if whole else (before,))) is before
    assert tried > 300
    assert lost > tried / 2


@pytest.mark.parametrize("checkpoint", ["PASSIVE", "TRUNCATE"])
def test_a_cut_within_a_checkpoint_loses_nothing(tmp_path, checkpoint):
    tried = 0
    for before, after in pairwise(walked(tmp_path / "spool.db", checkpoint)):
        if after.name != "checkpoint":
            continue
        for at in range(0, len(after.db) + 1, before.page):
            for cut in (at, min(at + 333, len(after.db))):
                # Pages reach the disk in any order: those before the cut, or those after it.
                early = after.db[:cut] + before.db[cut:]
                late = before.db[:cut].ljust(cut, b"\0") + after.db[cut:]
                for db in (early, late):
                    tried += 1
                    path = laid(tmp_path / f"{tried}", db, before.wal)
                    check((opened, rescued)[tried % 2](path), before)
    assert tried > 100


def test_a_cut_while_the_spool_is_made_leaves_one_that_can_be_made(tmp_path):
    (made, *_) = walked(tmp_path / "spool.db")
    frame = FRAME_HEADER + made.page
    places = [0, 7, *range(WAL_HEADER, len(made.wal) + 1, frame), *range(WAL_HEADER + 99, len(made.wal), frame)]
    for number, cut in enumerate(places):
        path = laid(tmp_path / f"{number}", made.db, made.wal[:cut])
        with (opened, rescued)[number % 2](path) as spool:
            assert (spool.empty, spool._meta("station")) == (True, "lin-an")
            spool.append(reading(0, 4))
            assert spool.queue.batches == 1
        assert not list(path.parent.glob("*damaged*"))
