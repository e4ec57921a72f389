"""The page of a station and month, out of a real store."""

import re
import xml.dom.minidom

import pytest

from deploy.jobs import network, qc
from ingest import catalogue, ledger, standards
from ingest.migrate import migrate
from tests.deploy.processes import eventually
from tests.deploy.test_qc_stream import DAY, HOUR, command, fill, heard, moment, network_document, series
from tests.path.network import STATION


def with_target(**more):
    found = series(**more)
    found[0]["calibration"]["target"] = [{"port": "4", "cylinder": "tank4"}]
    found[0]["calibration"]["standard"] = [{"port": port, "cylinder": f"tank{port}"} for port in "23"]
    return found


@pytest.fixture
def store(plain_dsn):
    migrate(plain_dsn)
    document = network_document()
    document["station"][0] |= {"title": "临安 Lin'an <b>", "region": "CN-ZJ"}
    catalogue.apply(plain_dsn, document)
    return plain_dsn


def test_a_page_of_a_month(store, monkeypatch, capsys, tmp_path):
    fill(store, 8)
    ledger.add(
        store,
        ledger.Decision(
            station=STATION, start=moment(3 * DAY), end=moment(3 * DAY + 2 * HOUR), flag="bad", author="Li Hua",
            reason="visitors & co", inlet="50m",
        ),
    )  # fmt: skip
    standards.correct(
        store, STATION, start=moment(0), end=moment(60), said="tank9", was="tank8", author="Li Hua", reason="label"
    )
    assert eventually(lambda: heard(store))
    qc.run_once(store, with_target())
    monkeypatch.setattr(network, "network_configuration", lambda _=None: with_target())
    said = command(
        monkeypatch, capsys, store, "report", STATION, "--month", "2025-07", "--output", str(tmp_path / "out")
    )
    assert said == str(tmp_path / "out" / f"{STATION}-2025-07.html")
    page = (tmp_path / "out" / f"{STATION}-2025-07.html").read_text("utf-8")
    xml.dom.minidom.parseString(re.sub(r"<meta[^>]*>|<!DOCTYPE html>|<img[^>]*>", "", page).replace("&nbsp;", " "))
    assert "临安 Lin&#39;an &lt;b&gt;" in page
    assert "30.300° N, 119.700° E, 139 m above sea level, CN-ZJ" in page
    assert "visitors &amp; co" in page
    assert "tank9 was tank8" in page
    assert page.count("data:image/png;base64,") == 4 + 2  # the series, the calibrations, the target
    for words in ("spike (REBS)", "Calibrations of the month", "tank4", "within the goal", "Not evaluated, for they"):
        assert words in page, words
    assert len(re.findall(r"2025-07-0\d \d\d:\d\d</td><td>2</td>", page)) == 4  # a calibration every second day
    # Without a month: that of the last reading.
    assert command(monkeypatch, capsys, store, "report", STATION, "--output", str(tmp_path)).endswith("2025-07.html")


def test_what_there_is_no_page_of(store, monkeypatch, capsys, tmp_path):
    def refused(*arguments):
        return command(monkeypatch, capsys, store, "report", *arguments, "--output", str(tmp_path), code=1)

    assert refused("nowhere") == "skyledger: station 'nowhere' is not in the catalogue"
    assert refused(STATION) == f"skyledger: {STATION} has no readings yet"
    assert refused(STATION, "--month", "July") == "skyledger: month is 'July', expected it as 2026-03"
    assert refused(STATION, "--month", "2025-08").startswith(f"skyledger: {STATION} has no means in 2025-08: has `sky")
    assert not list(tmp_path.iterdir())
