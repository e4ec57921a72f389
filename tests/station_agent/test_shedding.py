"""What is given up at the quota: counted, told, and never more than was to be."""

import logging
import random
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from station_agent.agent import Agent
from station_agent.config import read_config
from station_agent.errors import SpoolDamagedError, SpoolError
from station_agent.overview import overview
from station_agent.reading import Notice, Reading
from station_agent.sample import Sample
from station_agent.shedding import halves, restored
from station_agent.sources import open_source
from station_agent.spool import STEPS, Spool
from station_agent.wire import Kind, Outcome, decode, encode_batch
from tests.station_agent.conftest import Station, wait_until
from tests.station_agent.picarro_text import HEADER, row
from tests.station_agent.spooled import answer, reading

values = st.dictionaries(
    st.sampled_from(["co2", "ch4", "h2o"]), st.floats(0, 1e4) | st.just(float("nan")), min_size=1, max_size=3
)
sample = st.builds(
    Sample,
    st.integers(0, 10**10).map(lambda ms: ms * 1_000_000),
    values,
    st.none() | st.sampled_from(["1", "2"]),
    st.none() | st.integers(0, 1000),
    st.integers(0, 7),
)


def opened(path, **options):
    return Spool(path, **{"station": "lin-an", "samples": 10, **options})


def contents(spool):
    """Return the samples' times (s), and the events, in the order of the spool."""
    times, events = [], []
    for batch in spool.unsent(after=0, limit=10**6):
        said = decode(batch.payload)
        if batch.kind is Kind.DATA:
            times += [time // 1000 for time in said.t]
        else:
            events.append(said)
    return times, events


@given(st.lists(sample, min_size=1, max_size=30))
def test_a_frozen_batch_gives_its_samples_back(samples):
    payload = encode_batch(samples, spool="s", seq=1)
    again = encode_batch(restored(payload), spool="s", seq=1)
    assert decode(again).t == decode(payload).t
    kept = {name: column for name, column in decode(payload).q.items() if any(v is not None for v in column)}
    assert decode(again).q == kept
    assert (decode(again).port, decode(again).status, decode(again).mark) == (
        decode(payload).port,
        decode(payload).status,
        decode(payload).mark,
    )


@given(st.lists(sample, max_size=40))
def test_every_second_of_each_kind_stays(samples):
    stay, gone = halves(samples)
    assert sorted(map(repr, stay + gone)) == sorted(map(repr, samples))
    for kind in {(frozenset(one.values), one.port) for one in samples}:
        kept, lost = ([one for one in part if (frozenset(one.values), one.port) == kind] for part in (stay, gone))
        assert len(lost) <= len(kept) <= len(lost) + 1


def test_gases_that_take_turns_are_all_kept():
    names = ["co2", "ch4"] * 10
    stay, _ = halves([Sample(k * 10**9, {name: 1.0}) for k, name in enumerate(names)])
    assert [next(iter(one.values)) for one in stay].count("co2") == 5
    assert len(stay) == 10


def test_the_oldest_leave_and_are_told(tmp_path):
    with opened(tmp_path / "s.db", now_ms=lambda: 77) as spool:
        spool.append(reading(0, 100, notices=[Notice("valve", 0, {})]))
        (one,) = spool.shed(250, thin=False)
        times, events = contents(spool)
        lost = one.samples
        assert 0 < lost < 100
        assert times == list(range(lost, 100))
        assert [event.event for event in events] == ["valve", "readings_lost"]
        assert events[1].detail == {
            "reason": "quota: drop-oldest",
            "samples": lost,
            "readings": {"co2": lost},
            "first": 0,
            "last": (lost - 1) * 1000,
        }
        assert spool.lost_samples == lost
        assert spool.queue.samples == 100 - lost
    with opened(tmp_path / "s.db") as spool:
        assert spool.lost_samples == lost


def test_thinning_goes_through_all_before_any_is_thinned_twice(tmp_path):
    with opened(tmp_path / "s.db") as spool:
        spool.append(reading(0, 40))
        sizes = []
        for _ in range(4):
            spool.shed(1, thin=True)
            batches = [b for b in spool.unsent(after=0, limit=99) if b.kind is Kind.DATA]
            sizes.append([len(decode(batch.payload).t) for batch in batches])
        assert sizes == [[5, 10, 10, 10], [5, 5, 10, 10], [5, 5, 5, 10], [5, 5, 5, 5]]
        assert contents(spool)[0] == list(range(0, 40, 2))
        seqs = [decode(batch.payload).seq for batch in spool.unsent(after=0, limit=99)]
        assert len(set(seqs)) == len(seqs)  # other bytes never bear a number that was used
        while spool.shed(10**6, thin=True):
            pass
        times, events = contents(spool)
        assert times == []
        assert sum(event.detail["samples"] for event in events) == spool.lost_samples == 40


def test_events_alone_are_not_given_up(tmp_path):
    with opened(tmp_path / "s.db") as spool:
        spool.append(Reading("g2301", notices=[Notice("valve", 0, {})]))
        assert spool.shed(10**6, thin=False) == []
        assert len(contents(spool)[1]) == 1


def test_an_answer_for_what_was_thinned_meanwhile_changes_nothing(tmp_path):
    with opened(tmp_path / "s.db") as spool:
        spool.append(reading(0, 10))
        sent = spool.unsent(after=0, limit=1)
        spool.shed(1, thin=True)
        assert spool.acknowledge(answer(sent, Outcome.STORED)).removed == ()
        assert contents(spool)[0] == [0, 2, 4, 6, 8]


def test_a_spool_of_an_older_agent_is_upgraded(tmp_path):
    import sqlite3  # noqa: PLC0415
    from contextlib import closing  # noqa: PLC0415

    with opened(tmp_path / "s.db") as spool:
        spool.append(reading(0, 20))
    with closing(sqlite3.connect(tmp_path / "s.db")) as db:
        db.executescript("ALTER TABLE batch DROP COLUMN thinned; PRAGMA user_version = 1")
    with opened(tmp_path / "s.db") as spool:
        assert contents(spool)[0] == list(range(20))
        assert spool.shed(1, thin=True)[0].samples == 5


SCRIPT = """
import os, sys
from pathlib import Path
from station_agent.spool import Spool
def die(step):
    if step == sys.argv[2]:
        os._exit(9)
with Spool(Path(sys.argv[1]), station="lin-an", samples=10, on_step=die) as spool:
    spool.shed(400, thin=sys.argv[3] == "thin")
"""


@pytest.mark.parametrize("step", [step for step in STEPS if step.startswith("shed")])
@pytest.mark.parametrize("policy", ["thin", "drop-oldest"])
def test_killed_at_each_step_all_is_there_or_told(tmp_path, step, policy):
    path = tmp_path / "s.db"
    with opened(path) as spool:
        spool.append(reading(0, 100))
    died = subprocess.run([sys.executable, "-c", SCRIPT, str(path), step, policy], check=False).returncode
    assert died == 9
    with opened(path) as spool:
        times, events = contents(spool)
        assert len(times) + sum(event.detail["samples"] for event in events) == 100
        assert bool(events) is step.endswith("committed")
        spool.append(reading(100, 110))
        seqs = [decode(batch.payload).seq for batch in spool.unsent(after=0, limit=99)]
        assert len(set(seqs)) == len(seqs)


def read_lines(config):
    """Return how many lines of the file were read, None as long as the spool is being made."""
    try:
        return overview(config.spool.path).positions.get("g2301", {}).get("a.dat", {}).get("line")
    except SpoolError:
        return None


def run_until(config, condition):
    """Run the agent in a thread until a condition holds."""
    stop = threading.Event()

    def run():
        with Spool(config.spool.path, station=config.station, samples=config.batch.samples) as spool:
            Agent(config, spool, [open_source(entry, {}) for entry in config.instruments]).run(stop)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        wait_until(condition)
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("policy", ["drop-oldest", "thin"])
def test_reading_goes_on_over_the_quota_and_every_loss_is_told(tmp_path, caplog, policy):
    """Nobody takes anything: the broker is away."""
    caplog.set_level(logging.WARNING)
    station = Station(tmp_path / "station", "127.0.0.1", 9)
    text = station.file.read_text().replace("[spool]\nquota_mb = 100", f'[spool]\nquota_mb = 1\npolicy = "{policy}"')
    station.file.write_text(text)
    rows, draw = 60_000, random.Random(1)
    lines = [row(n, co2=400 + draw.gauss(0, 9), ch4=2 + draw.gauss(0, 1), h2o=draw.random()) for n in range(rows)]
    (station.data / "a.dat").write_text("\n".join([HEADER, *lines]) + "\n")
    config = read_config(station.file)
    run_until(config, lambda: read_lines(config) == rows + 1)
    with Spool(config.spool.path, station=config.station, samples=config.batch.samples) as spool:
        spool.freeze("g2301")
        times, events = contents(spool)
        assert spool.used_bytes < 1.2e6
        lost = [event.detail for event in events if event.event == "readings_lost"]
        assert sum(detail["samples"] for detail in lost) == spool.lost_samples > 0
        assert len(times) + spool.lost_samples == rows
        assert len(lost) < 100
        if policy == "drop-oldest":
            assert times == sorted(times)[-len(times) :]
            assert times[-1] - times[0] == len(times) - 1
    assert "were given up" in caplog.text


def test_what_is_replayed_waits_instead(station, receiver):
    """Files that are read once come through whole, whatever the policy."""
    text = station.file.read_text().replace("quota_mb = 100", 'quota_mb = 1\npolicy = "drop-oldest"')
    station.file.write_text(text)
    draw = random.Random(2)
    lines = [row(n, co2=400 + draw.gauss(0, 9), ch4=2 + draw.gauss(0, 1), h2o=draw.random()) for n in range(30_000)]
    (station.data / "a.dat").write_text("\n".join([HEADER, *lines]) + "\n")
    station.drain()
    wait_until(lambda: len({key[2] for key in receiver.readings}) == 30_000)
    assert receiver.events == []


def test_a_quota_made_smaller_does_not_stop_reading_for_good(tmp_path):
    """Far over the quota, reading stops for a moment only: room is made until it goes on."""
    station = Station(tmp_path / "station", "127.0.0.1", 9)
    text = station.file.read_text().replace("quota_mb = 100", 'quota_mb = 1\npolicy = "drop-oldest"')
    station.file.write_text(text)
    config = read_config(station.file)
    draw = random.Random(3)
    samples = [
        Sample(k * 10**9, {"co2": draw.random(), "ch4": draw.random(), "h2o": draw.random()}) for k in range(45_000)
    ]
    with Spool(config.spool.path, station=config.station, samples=60) as spool:
        spool.append(Reading("g2301", samples))
        assert spool.used_bytes > 1.1 * config.spool.quota
        agent = Agent(config, spool, [])
        agent._sheds = True
        for _ in range(50):
            agent._look_at_room()
        assert agent._reading_state() == "on"


def test_where_only_events_are_left_a_full_disk_is_not_taken_for_mended(tmp_path):
    station = Station(tmp_path / "station", "127.0.0.1", 9)
    text = station.file.read_text().replace("quota_mb = 100", 'quota_mb = 1\npolicy = "thin"')
    station.file.write_text(text)
    config = read_config(station.file)
    with Spool(config.spool.path, station=config.station) as spool:
        notices = [Notice("valve", 0, {"text": random.Random(k).randbytes(40_000).hex()}) for k in range(40)]
        spool.append(Reading("g2301", notices=notices))
        assert spool.used_bytes > config.spool.quota
        agent = Agent(config, spool, [])
        agent._sheds = True
        agent._trouble.met("full", now=-100.0)
        agent._look_at_room()
        assert agent._trouble.present
        assert agent.unstored == []


def test_a_batch_that_cannot_be_read_is_damage(tmp_path):
    with opened(tmp_path / "s.db") as spool:
        spool.append(reading(0, 20))
        spool._db.execute("UPDATE batch SET payload = X'00112233' WHERE id = 1")
        with pytest.raises(SpoolDamagedError, match="cannot be read"):
            spool.shed(1, thin=False)
