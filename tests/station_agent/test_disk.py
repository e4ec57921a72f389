"""A disk that is full or cannot be written: the agent waits for it, and loses nothing."""

import logging
import threading

import pytest

from station_agent import rescue, trouble
from station_agent.__main__ import main
from station_agent.agent import Agent, Ending
from station_agent.config import read_config
from station_agent.errors import SpoolUnwritableError
from station_agent.sources import open_source
from station_agent.spool import Spool
from station_agent.trouble import Trouble
from tests.station_agent.live_station import Until
from tests.station_agent.picarro_text import text
from tests.station_agent.spooled import answer, reading


def fill(spool):
    """Make SQLite meet a full disk: the file may not grow."""
    pages = spool._db.execute("PRAGMA page_count").fetchone()[0]
    spool._db.execute(f"PRAGMA max_page_count = {pages}")


def empty(spool):
    spool._db.execute("PRAGMA max_page_count = 1000000")


def forbid(spool):
    """Make SQLite refuse to write, as on a file system that was remounted read-only."""
    spool._db.execute("PRAGMA query_only = 1")


def allow(spool):
    spool._db.execute("PRAGMA query_only = 0")


FAULTS = pytest.mark.parametrize(("spoil", "mend"), [(fill, empty), (forbid, allow)])


@FAULTS
def test_a_failed_write_changes_nothing(tmp_path, spoil, mend):
    with Spool(tmp_path / "s.db", station="lin-an", samples=10) as spool:
        spool.append(reading(0, 20))
        before = spool.queue, spool.unsent(after=0, limit=99), spool.pending("g2301")
        spoil(spool)
        with pytest.raises(SpoolUnwritableError, match="cannot be written"):
            spool.append(reading(20, 5000))
        assert (spool.queue, spool.unsent(after=0, limit=99), spool.pending("g2301")) == before
        mend(spool)
        spool.append(reading(20, 40))
        assert [batch.seq for batch in _decoded(spool)] == [1, 2, 3, 4]


def _decoded(spool):
    from station_agent.wire import decode  # noqa: PLC0415

    return [decode(batch.payload) for batch in spool.unsent(after=0, limit=99)]


@FAULTS
def test_the_agent_waits_and_goes_on_by_itself(station, receiver, caplog, monkeypatch, spoil, mend):
    monkeypatch.setattr(trouble, "FIRST_RETRY_S", 0.05)
    caplog.set_level(logging.INFO)
    (station.data / "a.dat").write_text(text(0, 9000))
    config = read_config(station.file)
    with Spool(config.spool.path, station=config.station, samples=config.batch.samples) as spool:
        sources = [open_source(entry, {}) for entry in config.instruments]
        reads = []

        def on_step(step):
            if step == "read":
                reads.append(step)
                if len(reads) == 2:
                    spoil(spool)

        agent = Agent(config, spool, sources, on_step=on_step)
        tries = []
        met = agent._trouble.met

        def counted(reason, *, now):
            tries.append(agent._reading_state())
            if len(tries) == 4:
                mend(spool)
            return met(reason, now=now)

        agent._trouble.met = counted
        agent.run(threading.Event(), until_drained=True)
    assert len({key[2] for key in receiver.readings}) == 9000
    assert not receiver.conflicts
    assert len(tries) >= 4
    assert tries[1:4] == ["stopped: disk"] * 3
    complaints = [record for record in caplog.records if "reading waits, and goes on by itself" in record.message]
    assert len(complaints) == 1  # one line for a change, none for a retry
    assert "can be written again" in caplog.text
    assert [event.event for event in receiver.events] == ["spool_unwritable"]


def test_an_acknowledgement_the_disk_does_not_take_is_applied_later(station, receiver, monkeypatch):
    monkeypatch.setattr("station_agent.delivery.APPLY_AGAIN_S", 0.1)
    (station.data / "a.dat").write_text(text(0, 600))
    config = read_config(station.file)
    with Spool(config.spool.path, station=config.station, samples=config.batch.samples) as spool:
        failed = []
        apply = spool.acknowledge

        def acknowledge(said):
            if len(failed) < 3:
                failed.append(len(said))
                raise SpoolUnwritableError("full")
            return apply(said)

        spool.acknowledge = acknowledge
        Agent(config, spool, [open_source(entry, {}) for entry in config.instruments]).run(
            threading.Event(), until_drained=True
        )
        assert spool.empty
    assert len(failed) == 3
    assert len({key[2] for key in receiver.readings}) == 600


def test_retries_come_ever_later():
    one = Trouble()
    assert one.met("full", now=0.0)
    assert (one.lasts(0.9), one.lasts(1.0), one.present) == (True, False, True)
    assert not one.met("full", now=1.0)
    assert (one.lasts(2.9), one.lasts(3.0)) == (True, False)
    for _ in range(20):
        one.met("full", now=10.0)
    assert (one.lasts(69.9), one.lasts(70.0)) == (True, False)
    assert one.over(now=100.0) == 100.0
    assert (one.over(now=101.0), one.present) == (0.0, False)


def test_room_for_an_answer_to_what_was_sent(tmp_path):
    """On a full disk deliveries still leave: deleting needs no new pages."""
    with Spool(tmp_path / "s.db", station="lin-an", samples=10) as spool:
        spool.append(reading(0, 2000))
        fill(spool)
        assert len(spool.acknowledge(answer(spool.unsent(after=0, limit=100))).removed) == 100


def test_what_was_read_and_not_spooled_is_not_read_again(station, receiver, monkeypatch):
    """The agent is begun anew while the disk is full: what it holds in hand moves the positions it reads from."""
    (station.data / "a.dat").write_text(text(0, 600))
    config = read_config(station.file)
    source = open_source(config.instruments[0], {})
    held = list(iter(lambda: source.read(thorough=True), None))
    source.close()
    begun, run = [], Agent.run

    def running(self, stop, **options):
        begun.append(self)
        if len(begun) > 1:
            return run(self, stop, **options)
        self.unstored += held
        return Ending.RELOAD

    monkeypatch.setattr(Agent, "run", running)
    assert main(["run", "--config", str(station.file), "--until-drained"]) == 0
    assert len(begun) == 2
    assert sum(len(batch.t) for batch in receiver.batches) == 600


def test_a_disk_that_cannot_be_read_for_a_moment_does_not_end_the_agent(station, receiver, monkeypatch):
    monkeypatch.setattr(trouble, "FIRST_RETRY_S", 0.05)
    (station.data / "a.dat").write_text(text(0, 600))
    config = read_config(station.file)
    with Spool(config.spool.path, station=config.station, samples=config.batch.samples) as spool:
        failed, unsent = [], spool.unsent

        def failing(**options):
            if len(failed) < 3:
                failed.append(options)
                raise SpoolUnwritableError("disk I/O error")
            return unsent(**options)

        spool.unsent = failing
        Agent(config, spool, [open_source(entry, {}) for entry in config.instruments]).run(
            threading.Event(), until_drained=True
        )
    assert len(failed) == 3
    assert sum(len(batch.t) for batch in receiver.batches) == 600


def test_the_trouble_is_over_also_where_there_is_nothing_to_write(station, monkeypatch):
    """A reading error on a quiet day: the status does not say `stopped: disk` until the next reading comes."""
    monkeypatch.setattr(trouble, "FIRST_RETRY_S", 0.05)
    config = read_config(station.file)
    with Spool(config.spool.path, station=config.station, samples=config.batch.samples) as spool:
        agent = Agent(config, spool, [open_source(entry, {}) for entry in config.instruments])
        agent._unwritable(SpoolUnwritableError("disk I/O error"))
        assert agent._reading_state() == "stopped: disk"
        agent.run(Until(lambda: agent._reading_state() == "on"))


def test_a_disk_that_is_full_when_the_agent_begins_anew_loses_nothing(station, receiver, monkeypatch):
    """What was read and not spooled waits until the spool can be opened again."""
    (station.data / "a.dat").write_text(text(0, 600))
    config = read_config(station.file)
    source = open_source(config.instruments[0], {})
    held = list(iter(lambda: source.read(thorough=True), None))
    source.close()
    monkeypatch.setattr("station_agent.__main__.UNWRITABLE_S", 0.05)
    begun, run, opened, refused = [], Agent.run, rescue.open_spool, []

    def running(self, stop, **options):
        begun.append(self)
        if len(begun) > 1:
            return run(self, stop, **options)
        self.unstored += held
        return Ending.RELOAD

    def opening(*arguments, **options):
        if begun and len(refused) < 3:
            refused.append(arguments)
            raise SpoolUnwritableError("no space left on device")
        return opened(*arguments, **options)

    monkeypatch.setattr(Agent, "run", running)
    monkeypatch.setattr(rescue, "open_spool", opening)
    assert main(["run", "--config", str(station.file), "--until-drained"]) == 0
    assert len(refused) == 3
    assert sum(len(batch.t) for batch in receiver.batches) == 600


def test_a_full_disk_at_the_start_is_said(station, monkeypatch, capsys):
    def refused(*_arguments, **_options):
        raise SpoolUnwritableError("no space left on device")

    monkeypatch.setattr(rescue, "open_spool", refused)
    assert main(["run", "--config", str(station.file)]) == 1
    assert "no space left on device" in capsys.readouterr().err
