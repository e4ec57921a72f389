import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from station_agent.agent import Agent
from station_agent.config import read_config
from station_agent.notify import Notifier
from station_agent.spool import Spool
from tests.servers import absent
from tests.station_agent.conftest import Station, wait_until

UNIT = Path(__file__).parents[2] / "deploy/systemd/station-agent.service"


@pytest.fixture
def manager(tmp_path):
    """The service manager's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(0.2)
        yield sock


def said(manager):
    messages = []
    try:
        while True:
            messages.append(manager.recv(4096).decode())
    except TimeoutError:
        return messages


def test_what_is_said(manager):
    now = [100.0]
    watched = {"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid())}
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname(), **watched}, monotonic=lambda: now[0])
    notifier.ready()
    for seconds in (0.0, 1.0, 4.0, 4.5, 5.0):
        now[0] += seconds
        notifier.turned()
    notifier.status("reading,\nconnected")
    notifier.status("reading,\nconnected")
    notifier.stopping()
    # At 100, 105 and 114.5 s: twice as often as it is looked at.
    alive = ["WATCHDOG=1"] * 3
    assert said(manager) == ["READY=1", *alive, "STATUS=reading, connected", "STOPPING=1"]


def test_nothing_is_said_where_nobody_asked_or_listens(tmp_path):
    Notifier({}).ready()
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "none")}).ready()
    other = Notifier({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"})
    other.turned()
    other.ready()


def test_an_abstract_name():
    name = f"skyledger-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name)
        sock.settimeout(0.2)
        Notifier({"NOTIFY_SOCKET": "@" + name}).ready()
        assert said(sock) == ["READY=1"]


def test_the_agent_tells_the_manager_from_start_to_end(station, manager, monkeypatch, ended):
    monkeypatch.setenv("NOTIFY_SOCKET", manager.getsockname())
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    messages = []
    agent = station.start("run")
    wait_until(lambda: messages.extend(said(manager)) or messages.count("WATCHDOG=1") >= 3)
    assert messages[0] == "READY=1"
    assert any(message.startswith("STATUS=reading") for message in messages)
    assert ended(agent)[0] == 0
    assert said(manager)[-1] == "STOPPING=1"


class Stuck:
    """A source whose reading can be held up."""

    expecting = True

    def __init__(self, instrument):
        self.instrument = instrument
        self.go, self.held = threading.Event(), threading.Event()
        self.go.set()

    def read(self, *, thorough):  # noqa: ARG002
        if not self.go.is_set():
            self.held.set()
        self.go.wait(30)

    def remainder(self):
        return {}

    def close(self):
        pass


def test_a_loop_that_hangs_does_not_say_that_it_turns(tmp_path, manager):
    config = read_config(Station(tmp_path / "station", "127.0.0.1", 1).file)
    notifier = Notifier({"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "1000000"})
    source, stop, messages = Stuck(config.instruments[0]), threading.Event(), []

    def run():
        with Spool(config.spool.path, station=config.station) as spool:
            Agent(config, spool, [source], notifier=notifier).run(stop)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        wait_until(lambda: messages.extend(said(manager)) or "WATCHDOG=1" in messages)
        source.go.clear()
        wait_until(source.held.is_set)
        said(manager)
        assert [said(manager) for _ in range(5)] == [[]] * 5  # a second; it would be said every half
        source.go.set()
        wait_until(lambda: "WATCHDOG=1" in said(manager))
    finally:
        source.go.set()
        stop.set()
        thread.join()


def test_systemd_finds_no_fault_in_the_unit(tmp_path):
    if shutil.which("systemd-analyze") is None:
        absent("systemd-analyze is not installed: install your system's package systemd")
    agent = tmp_path / "station-agent"
    agent.write_text("#!/bin/sh\n")
    agent.chmod(0o755)
    unit = tmp_path / "station-agent.service"
    unit.write_text(UNIT.read_text().replace("/opt/skyledger/bin/station-agent", str(agent)))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    ours = [line for line in (done.stdout + done.stderr).splitlines() if "station-agent" in line]
    assert (done.returncode, ours) == (0, [])
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=30", unit]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout.splitlines()[-1:]
