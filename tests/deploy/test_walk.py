"""The operator's page, typed line by line on a bare machine: Debian 13, its own systemd, nothing else."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import printed
from tests.deploy.machine import machine
from tests.deploy.pages import FIRST, commands, elsewhere, typed_as

ROOT = Path(__file__).parents[2]
CHARACTERS_A_MINUTE = 200
"""Forty words: slow typing."""
MINUTES = 15
WATCHING = 'ALERTS{alertname="Watching"}'
PATIENCE_S = 150
"""A batch is sent once it is a minute old."""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """Our own distribution, as a registry would have it."""
    folder = tmp_path_factory.mktemp("wheels")
    command = [Path(sys.executable).parent / "uv", "build", "--quiet", "--wheel", "--out-dir", folder, ROOT]
    subprocess.run(command, check=True)
    return folder


def typed(place, line, *, ends=0):
    """Type a line; returns what it said."""
    began = time.monotonic()
    done = place.type(line)
    print(f"{time.monotonic() - began:6.1f} s  {line.splitlines()[0]}")
    assert done.returncode == ends, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def first_reading(place, line):
    """Type the question until there is a reading; returns the answer."""
    deadline = time.monotonic() + PATIENCE_S
    while "(1 row)" not in (said := typed(place, line)):
        assert time.monotonic() < deadline, typed(place, "journalctl --no-pager | tail -n 60")
        time.sleep(5)
    return said


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_from_nothing_to_a_first_reading_and_all_else_on_the_page(wheels):
    first = [command.text for command in commands() if command.section == FIRST]
    with machine(wheels, hosts=["mqtt.example.org"]) as place:
        assert place.type("command -v python3 postgres mosquitto skyledger").stdout == ""
        began = time.monotonic()
        for line in first[:-1]:
            typed(place, line)
        seen = first_reading(place, first[-1])
        machine_s = time.monotonic() - began
        assert "SSL connection (protocol: TLSv1.3" in seen
        everything_runs(place)
        nothing_without_tls(place)
        for command in commands():
            if command.section != FIRST and elsewhere(command.text) is None:
                line, ends = typed_as(command)
                said = typed(place, line, ends=ends)
                if command.text.startswith("skyledger ingest run"):  # goes on until it is stopped
                    assert "connected to the broker mqtt.example.org:8883" in said
                    assert "messages stored" in said
        restored_and_waiting_for_its_stream(place)
        everything_is_watched(place)
        by_hand(place)
        typed(place, "apt-get install -y --no-install-recommends docker-compose")
        typed(place, "cd /root/files; docker-compose -f compose.yaml config -q")
    characters = sum(len(line) + 1 for line in first)
    minutes = characters / CHARACTERS_A_MINUTE
    print(
        f"{len(first)} commands, {characters} characters: {minutes:.1f} min of typing at {CHARACTERS_A_MINUTE} a"
        f" minute; the machine itself took {machine_s:.0f} s"
    )
    assert minutes < MINUTES


def everything_runs(place):
    """Assert that the units did what they are for, in their sandboxes, and that none failed."""
    for job in ("skyledger-qc", "skyledger-maintain", "skyledger-certificates"):
        typed(place, f"systemctl start {job}")
    for unit in ("mosquitto", "skyledger-ingest@ingest-1", "station-agent"):
        typed(place, f"systemctl is-active {unit}")
    assert "skyledger_ingest_messages_total" in typed(
        place, "python3 -c \"import urllib.request as r; print(r.urlopen('http://127.0.0.1:9464/metrics').read())\""
    )
    assert "UNIT" not in typed(place, "systemctl --failed --no-legend")
    assert typed(place, "systemctl --failed --no-legend") == ""
    # The keys and passwords are their users' and root's alone.
    for secret in ("ingest-1.env", "qc.env", "pki/ca.key", "ingest-1/ingest-1.key"):
        typed(place, f"runuser -u skyledger-qc -- cat /etc/skyledger/{secret}", ends=1)


def everything_is_watched(place):
    """Assert that Prometheus, as the page made it, has the worker's figures and the rules, and the log is of lines."""
    ask = "curl -fsS -G http://127.0.0.1:9090/api/v1/query --data-urlencode 'query={}' | grep -q value"
    for query in (
        "max_over_time(skyledger_ingest_connected[30m]) == 1",
        "last_over_time(skyledger_station_known[30m])",
        WATCHING,
    ):
        line = ask.format(query).replace("'", "'\\''")
        typed(place, f"timeout 120 sh -c 'until {line}; do sleep 2; done'")
    listening = typed(place, "cat /proc/net/tcp /proc/net/tcp6 | awk '$4 == \"0A\" {print $2}'").split()
    theirs = {address for address in listening if address[-4:] in {"2382", "2385", "24F8"}}  # 9090, 9093, 9464
    assert {"0100007F:2382", "0100007F:2385"} <= theirs <= {f"0100007F:{port}" for port in ("2382", "2385", "24F8")}
    said = typed(place, "journalctl -o cat -u skyledger-qc")
    assert re.search(r"^ts=\S+Z level=\w+ event=(evaluated|not_evaluated|nothing_new) ", said, re.MULTILINE), said


def by_hand(place):
    """Assert that the technician's page installs a station too: its lines, in the folder carried there."""
    typed(place, "systemctl disable --now station-agent; userdel station-agent; systemctl daemon-reload")
    typed(place, "rm -r /etc/station-agent /var/lib/station-agent /etc/systemd/system/station-agent.service")
    typed(place, "cd /etc/skyledger/lin-an")
    lines = [c.text for c in printed.blocks("station_agent/README.md") if c.section in ("Install", "As a service")]
    assert len(lines) == 9
    for line in lines[:-1]:
        typed(place, line)
    assert lines[-1].startswith("runuser -u station-agent -- /opt/skyledger/bin/station-agent doctor")
    said = place.type(lines[-1]).stdout
    assert "broker, acknowledgements: skyledger/v1/lin-an/ack granted" in said, said
    assert [line for line in said.splitlines() if line.startswith("not ok") and "clock" not in line] == []
    typed(place, "systemctl is-active station-agent")


def restored_and_waiting_for_its_stream(place):
    """Assert that the server is the restored one, with its readings, and commits with the stream."""
    timeline, messages, state = (
        "SELECT timeline_id FROM pg_control_checkpoint()",
        "SELECT count(*) > 0 FROM message",
        "SELECT sync_state FROM pg_stat_replication WHERE application_name = 'skyledger_wal'",
    )
    asked = f"su postgres -c \"psql -d skyledger -At -c '{timeline}' -c '{messages}'\""
    assert typed(place, asked).split() == ["2", "t"]
    assert typed(place, f'echo "{state}" | su postgres -c "psql -d skyledger -At"').split() == ["sync"]


def nothing_without_tls(place):
    """Assert that the broker hears nobody without a certificate, and that the reading went over TLS."""
    opened = typed(place, "cat /proc/net/tcp | awk '$4 == \"0A\" {print $2}'")
    assert ":22B3" in opened  # 8883
    assert ":075B" not in opened  # 1883
    assert "u'lin-an'" in typed(place, "journalctl --no-pager -u mosquitto | grep 8883 -A2 | grep lin-an")
