import json
import re
import time

import pytest

from station_agent import __version__
from station_agent.batches import Queue
from station_agent.config import read_config
from station_agent.health import ClockState, Health, Transport, clock_state, disk_free, encoded, exposition
from station_agent.reading import Reading
from station_agent.sample import Sample
from tests.station_agent.conftest import Station, wait_until
from tests.station_agent.picarro_text import text

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
NUMBER = r"[+-]?(?:\d+(?:\.\d*)?(?:e[+-]?\d+)?|Inf|NaN)"
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? ({NUMBER})")


def parse_exposition(document):
    """Read Prometheus's text format strictly: HELP, TYPE, then the samples of one family, none of them twice."""
    assert document.endswith("\n")
    families, values, current = {}, {}, None
    lines = iter(document.removesuffix("\n").split("\n"))
    for line in lines:
        if match := re.fullmatch(rf"# HELP ({NAME}) \S.*", line):
            current = match[1]
            assert current not in families
            kind = re.fullmatch(rf"# TYPE {current} (gauge|counter)", next(lines))
            assert kind
            families[current] = kind[1]
            assert current.endswith("_total") == (kind[1] == "counter")
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        assert match[1] == current
        key = match[1], match[2]
        assert key not in values
        values[key] = float(match[3])
    return families, values


def transport(**changes):
    values = {
        "client": "lin-an-1",
        "spool": "s",
        "queue": Queue(3, 180, 4000, 1_700_000_000_500),
        "pending": 7,
        "used_bytes": 8192,
        "connected": True,
        "acknowledged": 5,
        "kept_aside": 1,
        "reading": "on",
    }
    return Transport(**(values | changes))


@pytest.fixture
def config(tmp_path):
    station = Station(tmp_path / "station", "127.0.0.1", 1)
    station.file.write_text(station.file.read_text() + "normal_status = [963]\n")
    return read_config(station.file)


def test_the_document(config):
    health = Health(config, now_ms=1)
    samples = [Sample(k * 10**9, {"co2": 400.0 + k}, "1", 963 if k < 5 else 955) for k in range(8)]
    health.note(Reading("g2301", samples))
    clock = ClockState(True, 0.001, "adjtimex")
    said = json.loads(encoded(health.document("online", transport(), clock=clock, more={"lost": 3})))
    assert (said["v"], said["state"], said["version"], said["config"]) == (1, "online", __version__, config.digest)
    assert said["last"] == {"g2301": {"co2": [7000, 407.0]}}
    assert said["status"] == {"g2301": {"word": 955, "since": 5000, "time": 7000, "alarm": True}}
    assert (said["queue_batches"], said["queue_oldest"], said["pending_samples"]) == (3, 1_700_000_000_500, 7)
    assert said["clock"] == {"synchronised": True, "offset_s": 0.001, "source": "adjtimex"}
    assert (said["lost"], said["reading"]) == (3, "on")
    assert said["disk_free"] == pytest.approx(disk_free(config.spool.path), rel=0.1)
    assert abs(said["time"] / 1000 - time.time()) < 60


def test_the_will_says_lost_and_nothing_that_will_be_old_by_then(config):
    said = Health(config, now_ms=1).document("lost", transport(), clock=clock_state())
    assert said == {"v": 1, "state": "lost", "version": __version__, "client": "lin-an-1"}


def test_without_normal_words_no_status_is_an_alarm(tmp_path):
    health = Health(read_config(Station(tmp_path / "x", "127.0.0.1", 1).file), now_ms=1)
    health.note(Reading("g2301", [Sample(1, {}, None, 955)]))
    said = health.document("online", transport(), clock=clock_state())
    assert said["status"]["g2301"]["alarm"] is False


def test_the_clock_is_asked():
    clock = clock_state()
    assert clock.source == "adjtimex"
    assert isinstance(clock.synchronised, bool)
    assert abs(clock.offset_s) < 1.0


def test_exposition_is_valid_and_says_what_the_document_says(config):
    health = Health(config, now_ms=1000)
    health.note(Reading("g2301", [Sample(7 * 10**9, {"co2": 415.25, "ch4": 1e-9}, "1", 955)]))
    unsure = ClockState(None, None, "unknown")
    for clock in (ClockState(False, -1e-7, "adjtimex"), unsure):
        document = health.document("online", transport(queue=Queue(0, 0, 0, None)), clock=clock)
        families, values = parse_exposition(exposition(document, station="lin-an"))
        where = 'station="lin-an"'
        assert values["station_agent_queue_batches", where] == 0
        assert values["station_agent_start_time_seconds", where] == 1.0
        assert values["station_agent_last_reading", f'{where},instrument="g2301",quantity="co2"'] == 415.25
        assert values["station_agent_instrument_alarm", f'{where},instrument="g2301"'] == 1
        assert families["station_agent_read_samples_total"] == "counter"
        assert "station_agent_queue_oldest_seconds" not in families
        assert ("station_agent_clock_synchronised" in families) == (clock is not unsure)


def test_the_agent_writes_the_textfile_also_without_a_broker(tmp_path, ended):
    station = Station(tmp_path / "station", "127.0.0.1", 1)
    (station.data / "DataLog_1.dat").write_text(text(0, 50))
    station.configure(extra='[health]\ntextfile = "agent.prom"')
    agent = station.start("run")
    path = station.folder / "agent.prom"
    try:
        wait_until(path.exists)
        _, values = parse_exposition(path.read_text())
        assert values["station_agent_connected", 'station="lin-an"'] == 0
        assert path.stat().st_mode & 0o444 == 0o444
        assert ended(agent)[0] == 0
        assert list(station.folder.glob(".agent.prom*")) == []
    finally:
        station.stop()
