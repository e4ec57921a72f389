import json
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from station_agent.agent import Agent
from station_agent.config import read_config
from station_agent.sources import open_source
from station_agent.spool import Spool
from tests.station_agent.receiver import Receiver


class Station:
    """A station's folder with a configuration, and ways to run the agent on it."""

    def __init__(self, folder, host, port):
        self.folder = folder
        self.host, self.port = host, port
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        self.file = folder / "agent.toml"
        self.processes = []
        self.configure()

    def configure(self, *, samples=60, extra="", quota_mb=100, instruments=None, resend=1.0, broker=""):
        """Write the configuration."""
        picarro = '[[instrument]]\nname = "g2301"\ndriver = "picarro"\npath = "data/*.dat"\npoll = 0.05\n'
        self.file.write_text(
            f'station = "lin-an"\n[broker]\nhost = "{self.host}"\nport = {self.port}\n{broker}\n'
            f"[spool]\nquota_mb = {quota_mb}\n[batch]\nsamples = {samples}\nseconds = 0.3\nresend = {resend}\n{extra}\n"
            + (picarro if instruments is None else instruments)
        )

    def command(self, *arguments):
        """Return the command line of a `station-agent` command on this configuration."""
        name, *rest = arguments
        return [sys.executable, "-m", "station_agent", name, "--config", str(self.file), *map(str, rest)]

    def call(self, *arguments, timeout=60):
        """Run a command to its end; return (status, what it printed, what it complained)."""
        command = self.command(*arguments)
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout)
        return done.returncode, done.stdout, done.stderr

    def start(self, *arguments):
        """Start a command; it is killed when the test ends."""
        process = subprocess.Popen(self.command(*arguments), stderr=subprocess.PIPE, text=True)
        self.processes.append(process)
        return process

    def drain(self, *, on_step=lambda _step: None):
        """Run the agent in this process until all there is has been acknowledged."""
        config = read_config(self.file)
        with Spool(config.spool.path, station=config.station, samples=config.batch.samples) as spool:
            sources = [open_source(entry, spool.positions(entry.name)) for entry in config.instruments]
            agent = Agent(config, spool, sources, draw=random.Random(1), on_step=on_step)
            agent.run(threading.Event(), until_drained=True)

    def status(self):
        """Return what `station-agent status --json` says."""
        code, said, complaint = self.call("status", "--json")
        assert (code, complaint) == (0, "")
        return json.loads(said)

    def copy(self, name):
        """Return a copy of the station as it is: configuration, spool, data."""
        other = object.__new__(Station)
        other.__dict__.update(self.__dict__)
        other.folder = self.folder.parent / name
        shutil.copytree(self.folder, other.folder)
        other.data, other.file, other.processes = other.folder / "data", other.folder / "agent.toml", []
        self.copies = [*getattr(self, "copies", []), other]
        return other

    def stop(self):
        """Kill what was started, also by copies."""
        for process in self.processes:
            process.kill()
            process.communicate()
        for other in getattr(self, "copies", []):
            other.stop()


def wait_until(condition, *, seconds=30, what="it"):
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.02)


@pytest.fixture
def station(tmp_path, mosquitto):
    """Station whose broker is a running Mosquitto."""
    station = Station(tmp_path / "station", mosquitto.host, mosquitto.port)
    try:
        yield station
    finally:
        station.stop()


@pytest.fixture
def receiver(mosquitto):
    """The server's side, subscribed."""
    with Receiver(mosquitto.host, mosquitto.port) as receiver:
        yield receiver


@pytest.fixture
def ended():
    """Return how a process that was told to stop has ended."""

    def ended(process, number=signal.SIGTERM):
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
        return process.returncode, said

    return ended
