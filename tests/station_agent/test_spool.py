import shutil
import sqlite3
import subprocess
import sys

import pytest

from station_agent.errors import SpoolError
from station_agent.lock import holder
from station_agent.overview import overview
from station_agent.reading import Notice, Reading
from station_agent.spool import STEPS, Spool
from station_agent.wire import Acknowledgement, Kind, Outcome, decode, decode_batch, digest
from tests.station_agent.spooled import answer, reading

SAMPLES = 10


def opened(path, **options):
    return Spool(path, **{"station": "lin-an", "samples": SAMPLES, **options})


def everything(spool):
    """Return the times (s) of all samples in the spool's batches."""
    times = []
    for batch in spool.unsent(after=0, limit=10**6):
        if batch.kind is Kind.DATA:
            times += [time // 1000 for time in decode_batch(batch.payload).t]
    return times


@pytest.fixture
def path(tmp_path):
    return tmp_path / "spool.db"


# --- gathering and freezing ------------------------------------------------------------------


def test_full_batches_are_frozen_and_the_rest_gathers(path):
    with opened(path) as spool:
        spool.append(reading(0, 25))
        spool.append(reading(25, 34))
        assert spool.pending("g2301") == 4
        spool.freeze("g2301")
        assert spool.pending("g2301") == 0
        batches = [decode_batch(batch.payload) for batch in spool.unsent(after=0, limit=9)]
    assert [len(batch.t) for batch in batches] == [10, 10, 10, 4]
    assert [batch.seq for batch in batches] == [1, 2, 3, 4]
    assert [time for batch in batches for time in batch.t] == [number * 1000 for number in range(34)]


def test_what_gathers_survives_closing(path):
    with opened(path) as spool:
        spool.append(reading(0, 7, offset=70))
        spool.append(reading(7, 9, offset=90))
        name = spool.id
    with opened(path) as spool:
        assert (spool.id, spool.pending("g2301"), spool.positions("g2301")) == (name, 9, {"a.dat": {"offset": 90}})
        spool.append(reading(9, 11))
        assert everything(spool) == list(range(10))


def test_frozen_bytes_never_change(path):
    with opened(path) as spool:
        spool.append(reading(0, 20))
        before = spool.unsent(after=0, limit=9)
    with opened(path) as spool:
        spool.append(reading(20, 40))
        assert spool.unsent(after=0, limit=9)[:2] == before
    assert all(digest(batch.payload) == batch.digest for batch in before)


def test_events_travel_the_same_way(path):
    notice = Notice("line_rejected", 5 * 10**9, {"line": 3, "text": "x\udc80".encode("utf-8", "replace").decode()})
    with opened(path) as spool:
        spool.append(reading(0, 3, notices=[notice]))
        (event,) = spool.unsent(after=0, limit=9)
        assert event.kind is Kind.EVENT
        assert decode(event.payload).detail == notice.detail
        assert decode(event.payload).t == 5000


def test_a_position_can_be_forgotten(path):
    with opened(path) as spool:
        spool.append(reading(0, 1, offset=1))
        spool.append(Reading("g2301", positions={"a.dat": None, "b.dat": {"offset": 2}}))
        assert spool.positions("g2301") == {"b.dat": {"offset": 2}}


# --- acknowledgements ------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", [Outcome.STORED, Outcome.ASIDE])
def test_an_acknowledged_batch_leaves(path, outcome):
    with opened(path) as spool:
        spool.append(reading(0, 30))
        first, second, third = spool.unsent(after=0, limit=9)
        result = spool.acknowledge(answer([second], outcome))
        assert result.removed == (second.digest,)
        assert result.aside == (outcome is Outcome.ASIDE)
        assert spool.unsent(after=0, limit=9) == [first, third]
        assert spool.queue.batches == 2
        assert spool.queue.samples == 20
        assert spool.queue.size == len(first.payload) + len(third.payload)


def test_only_the_digest_counts(path):
    with opened(path) as spool:
        spool.append(reading(0, 10))
        (batch,) = spool.unsent(after=0, limit=9)
        others = ["", "0" * 32, batch.digest.upper(), batch.digest[:-1], None, 3, ["x"], {}]
        said = [Acknowledgement(1, other, outcome) for other in others for outcome in Outcome]
        assert spool.acknowledge(said).removed == ()
        assert spool.unsent(after=0, limit=9) == [batch]
        assert spool.acknowledge([Acknowledgement(99, batch.digest, Outcome.STORED)]).removed == (batch.digest,)


def test_acknowledging_twice_changes_nothing(path):
    with opened(path) as spool:
        spool.append(reading(0, 20))
        first, _ = spool.unsent(after=0, limit=9)
        spool.acknowledge(answer([first, first]))
        assert spool.acknowledge(answer([first])).removed == ()
        assert (spool.queue.batches, spool.queue.samples) == (1, 10)


def test_numbers_of_batches_are_never_used_twice(path):
    # Delivery goes by them: a number used again would never be sent.
    with opened(path) as spool:
        spool.append(reading(0, 10))
        (first,) = spool.unsent(after=0, limit=9)
        spool.acknowledge(answer([first]))
    with opened(path) as spool:
        spool.append(reading(10, 20))
        (second,) = spool.unsent(after=first.id, limit=9)
        assert decode_batch(second.payload).seq == 2


# --- rekey -----------------------------------------------------------------------------------


def test_rekey_draws_a_new_id_once_and_numbers_from_one(path):
    with opened(path) as spool:
        spool.append(reading(0, 30))
        old = spool.id
        batches = spool.unsent(after=0, limit=9)
        result = spool.acknowledge(answer(batches[:2], Outcome.REKEY))
        assert result.rekeyed == {batch.digest: batch.id for batch in batches[:2]}
        assert spool.id != old
        after = spool.unsent(after=0, limit=9)
        decoded = [decode_batch(batch.payload) for batch in after]
        assert [(batch.spool, batch.seq) for batch in decoded] == [(spool.id, 1), (spool.id, 2), (old, 3)]
        assert [batch.id for batch in after] == [batch.id for batch in batches]
        assert [digest(batch.payload) for batch in after] == [batch.digest for batch in after]
        assert everything(spool) == list(range(30))
        assert spool.queue.size == sum(len(batch.payload) for batch in after)
        spool.append(reading(30, 40))
        assert decode_batch(spool.unsent(after=after[-1].id, limit=1)[0].payload).seq == 3
        new = spool.id
    with opened(path) as spool:
        assert spool.id == new


def test_a_late_rekey_of_an_old_id_keeps_the_current_one(path):
    with opened(path) as spool:
        spool.append(reading(0, 30))
        first, second, _ = spool.unsent(after=0, limit=9)
        spool.acknowledge(answer([first], Outcome.REKEY))
        current = spool.id
        spool.acknowledge(answer([second], Outcome.REKEY))
        assert spool.id == current
        assert spool.acknowledge(answer([first, second], Outcome.REKEY)).rekeyed == {}


def test_an_event_is_rekeyed_too(path):
    with opened(path) as spool:
        spool.append(Reading("g2301", notices=[Notice("maintenance", 1, {"who": "李"})]))
        (event,) = spool.unsent(after=0, limit=9)
        spool.acknowledge(answer([event], Outcome.REKEY))
        (again,) = spool.unsent(after=0, limit=9)
        assert decode(again.payload).detail == {"who": "李"}
        assert again.digest != event.digest


def test_two_copies_of_a_spool_lose_and_double_nothing(tmp_path):
    """The server's rule (same number, other bytes: rekey) against two agents that go on from one file."""
    with opened(tmp_path / "a.db") as spool:
        spool.append(reading(0, 17))
    shutil.copy(tmp_path / "a.db", tmp_path / "b.db")
    taken, stored = {}, {}
    with opened(tmp_path / "a.db") as a, opened(tmp_path / "b.db") as b:
        a.append(reading(17, 40))
        b.append(reading(50, 80))
        for spool in (a, b):
            spool.freeze("g2301")
        while not (a.empty and b.empty):
            for spool in (a, b):
                for batch in spool.unsent(after=0, limit=2):
                    decoded = decode_batch(batch.payload)
                    fits = taken.setdefault((decoded.spool, decoded.seq), batch.digest) == batch.digest
                    if fits:
                        stored |= dict(zip(decoded.t, decoded.q["co2"], strict=True))
                    said = answer([batch], Outcome.STORED if fits else Outcome.REKEY)
                    a.acknowledge(said)
                    b.acknowledge(said)
        assert a.id != b.id
    assert sorted(stored) == [number * 1000 for number in [*range(40), *range(50, 80)]]


# --- the file --------------------------------------------------------------------------------


def test_a_second_process_is_refused_in_a_sentence(path):
    with opened(path) as spool:
        spool.append(reading(0, 1))
        code = (
            "import sys, pathlib; from station_agent.spool import Spool; Spool(pathlib.Path(sys.argv[1]), station='x')"
        )
        second = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
        assert "another station-agent (process" in second.stderr
        assert holder(path) is not None
        assert overview(path).pending == {"g2301": 1}
    assert holder(path) is None


def test_a_spool_of_another_station_is_refused(path):
    opened(path).close()
    with pytest.raises(SpoolError, match="belongs to station 'lin-an', the configuration says 'wu-yi'"):
        opened(path, station="wu-yi")
    opened(path).close()


def test_a_file_that_is_no_spool_is_refused(path):
    path.write_text("not a database, but long enough to be taken for one" * 100)
    with pytest.raises(SpoolError, match="the spool cannot be opened: file is not a database"):
        opened(path)
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE other (x)")
    db.close()
    with pytest.raises(SpoolError, match="an SQLite file, but no spool"):
        opened(path)


def test_a_spool_of_a_newer_agent_is_refused(path):
    opened(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(SpoolError, match="schema version 99, this agent knows 2; update the agent"):
        opened(path)


def test_a_file_held_by_another_program_is_a_sentence_and_changes_nothing(path, monkeypatch):
    monkeypatch.setattr("station_agent.spool_file.BUSY_S", 0.1)
    with opened(path) as spool:
        spool.append(reading(0, 5))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(SpoolError, match=r"cannot be written \(append: database is locked\)"):
            spool.append(reading(5, 15))
        other.close()
        assert spool.pending("g2301") == 5
        spool.append(reading(5, 15))
        assert everything(spool) == list(range(10))


def test_it_is_as_durable_as_it_says(path):
    with opened(path) as spool:
        assert spool._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert spool._db.execute("PRAGMA synchronous").fetchone() == (2,)


# --- kill -9 ---------------------------------------------------------------------------------

WALK = (
    "create",
    "append",
    "freeze",
    "acknowledge",
)  # what the worker does; test_shedding and test_rescue have the rest
FATAL = [
    (step, nth) for step in STEPS if step.startswith(WALK) for nth in ((1,) if step.startswith("create") else (1, 5))
]


@pytest.mark.parametrize(("step", "nth"), FATAL)
def test_killed_at_any_step_nothing_is_lost_or_doubled(path, step, nth, request):
    root = request.config.rootpath

    def run(fatal):
        command = [sys.executable, root / "tests/station_agent/spool_worker.py", path, fatal, str(nth), root]
        return subprocess.run(command, check=False, timeout=60).returncode

    assert run(step) == 9
    assert run("none") == 0
    server = path.with_name("spool.db.server")
    messages = dict(line.split() for line in server.read_text().splitlines())
    delivered = {}
    with opened(path) as spool:
        payloads = [bytes.fromhex(text) for text in messages.values()]
        payloads += [batch.payload for batch in spool.unsent(after=0, limit=1000)]
    by_number = {}
    for payload in payloads:
        batch = decode_batch(payload)
        # A number never stands for two different payloads.
        assert by_number.setdefault((batch.spool, batch.seq), payload) == payload
        delivered.update(dict.fromkeys(batch.t, payload))
    assert sorted(delivered) == [number * 1000 for number in range(100)]
    # Once each: apart from a rekeyed batch's two forms, no sample stands anywhere twice.
    contents = {tuple(decode_batch(payload).t) for payload in payloads}
    assert sorted(time for times in contents for time in times) == [number * 1000 for number in range(100)]
