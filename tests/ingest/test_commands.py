import sys
from datetime import UTC, datetime

import pytest

from deploy.__main__ import main
from ingest.database import connect
from ingest.migrate import migrations
from ingest.store import Writer
from station_agent.wire import Kind
from tests.ingest.payloads import START, batch, census, event, said, samples

REJECTED = {"file": "a.dat", "line": 3, "reason": "cut"}


@pytest.fixture
def skyledger(monkeypatch, capsys):
    """Run a command line; returns what it says."""

    def run(dsn, *arguments, fails=False):
        monkeypatch.setenv("SKYLEDGER_DSN", dsn)
        monkeypatch.setattr(sys, "argv", ["skyledger", *arguments])
        try:
            code = main()
        except SystemExit as end:
            code = end.code
        said = capsys.readouterr()
        assert bool(code) == fails, said.err
        return (said.err if fails else said.out).strip()

    return run


def test_from_an_empty_database_to_mended_messages(plain_dsn, skyledger, tmp_path):
    dsn = plain_dsn
    steps = [step for step in migrations() if step.variant != "timescale"]
    assert f"{len(steps)} missing: run `skyledger db migrate`" in skyledger(dsn, "db", "status")
    assert skyledger(dsn, "db", "migrate").splitlines()[-1] == f"applied {steps[-1]}"
    assert skyledger(dsn, "db", "migrate") == "The database is up to date."
    with connect(dsn) as conn:
        Writer(conn).write(
            [
                said(batch(samples(60, names=("co2",)))),
                said(b"junk"),
                said(
                    event("line_rejected", detail={"file": "a.dat", "line": 3, "reason": "cut"}, seq=7), kind=Kind.EVENT
                ),
            ]
        )
    listed = skyledger(dsn, "aside", "list")
    assert "station 'lin-an' is not in the catalogue" in listed
    assert "neither JSON nor zlib" in listed
    assert "a.dat line 3: cut" in listed
    file = tmp_path / "network.toml"
    file.write_text(
        '[[station]]\nname="linan"\nlatitude=30\nlongitude=119\naltitude=139\n[[station.instrument]]\nname="g2301"\n'
    )
    assert skyledger(dsn, "catalog", "apply", str(file)) == "added station linan\nadded instrument linan/g2301"
    numbers = {line.split()[0]: line for line in listed.splitlines() if line[0].isdigit()}
    shown = {number: skyledger(dsn, "aside", "show", number) for number in numbers}
    ((good, _),) = [(n, text) for n, text in shown.items() if "umol" in text or '"co2"' in text]
    (junk,) = [n for n, text in shown.items() if text.endswith("b'junk'")]
    why = ("--why", "renamed", "--who", "me")
    assert (
        skyledger(dsn, "aside", "mend", good, "--map-station", "linan", *why) == f"message {good} is mended; replay it."
    )
    assert "mended" in skyledger(dsn, "aside", "show", good)
    said_of = skyledger(dsn, "aside", "replay")
    assert said_of.startswith("1 messages stored, 2 still kept aside; readings: 60 new, 0 there already")
    assert skyledger(dsn, "aside", "discard", junk, *why) == "1 messages are discarded."
    day = f"{datetime.fromtimestamp(START, UTC):%Y-%m-%d}"
    rebuilt = skyledger(dsn, "db", "rebuild", "--from", day, "--to", f"{day}T23:59:59")
    assert rebuilt == "1 messages read; 60 readings in place of 60, 0 newly kept aside."
    assert census(dsn) == {
        "stored": 1,
        "aside": 1,
        "discarded": 1,
        "readings": 60,
        "rows": 60,
        "rows_aside": 0,
        "events": 0,
    }
    status = skyledger(dsn, "db", "status")
    assert "messages stored       1 (60 readings" in status


def test_what_is_wrong_is_said_in_one_sentence(plain_store, skyledger):
    for arguments, sentence in (
        (("aside", "show", "5"), "skyledger: message 5 is not in the store, expected one that is kept aside"),
        (
            ("aside", "mend", "5", "--why", "x", "--rename", "a"),
            "skyledger: --rename 'a' is not two words with =",
        ),
        (("ingest", "run", "--broker", "host:0"), "skyledger: broker 'host:0' is not host:port"),
        (("catalog", "apply", "/nowhere.toml"), "skyledger: catalogue /nowhere.toml cannot be read"),
        (("db", "rebuild", "--from", "x", "--to", "2026-01-01"), "skyledger: 'x' is not a time"),
    ):
        assert skyledger(plain_store, *arguments, fails=True).startswith(sentence)
    assert "cannot connect" in skyledger("host=/nowhere", "db", "status", fails=True)
