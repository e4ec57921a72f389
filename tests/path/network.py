"""A network of real processes for tests of the whole path: database, broker, ingest, agents; each can be killed."""

import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import psycopg

from deploy.local.broker import Broker
from deploy.local.postgres import Postgres
from ingest import catalogue
from ingest.migrate import migrate

STATION, INSTRUMENT = "lin-an", "g2301"
PATIENCE = 60.0


def document(*instruments: str, station: str = STATION) -> dict:
    return {
        "station": [
            {
                "name": station,
                "title": station,
                "latitude": 30.3,
                "longitude": 119.7,
                "altitude": 139.0,
                "inlet": [{"name": "50m", "height": 50.0}],
                "instrument": [
                    {
                        "name": name,
                        "model": "Picarro G2301",
                        "driver": "picarro",
                        "port": [{"port": "10", "inlet": "50m"}],
                    }
                    for name in instruments or (INSTRUMENT,)
                ],
            }
        ]
    }


def until(condition, what: str, *, seconds: float = PATIENCE):
    """Wait for a condition; its value, or an error that says what never came."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"within {seconds:.0f} s: {what}")


class Network:
    """Database and broker in a folder, an ingest worker, and agents by folder."""

    def __init__(self, folder: Path, *, broker_kind=None, **database):
        self._folder = folder
        self._stack = ExitStack()
        self.database = self._stack.enter_context(Postgres(folder, **database))
        self.broker = self._stack.enter_context(Broker(folder, kind=broker_kind))
        self.processes: dict[str, subprocess.Popen] = {}
        migrate(self.database.dsn)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for name in list(self.processes):
            self.end(name, signal.SIGKILL)
        self._stack.close()

    @property
    def dsn(self) -> str:
        return self.database.dsn

    def apply(self, document: dict) -> None:
        catalogue.apply(self.dsn, document)

    # --- processes

    def start(self, name: str, *command: str) -> subprocess.Popen:
        return self.run(name, [sys.executable, "-m", *command])

    def run(self, name: str, command: list[str]) -> subprocess.Popen:
        """Start any program."""
        with (self._folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
            )
        return self.processes[name]

    def start_ingest(self) -> None:
        address = f"{self.broker.host}:{self.broker.port}"
        self.start("ingest", "deploy", "ingest", "run", "--dsn", self.dsn, "--broker", address)

    def wait_for_ingest(self) -> None:
        """Until it listens: what is published before by anybody but an agent, which sends again, is nobody's."""
        until(lambda: "connected to the broker" in self.log("ingest"), "ingest connects to the broker")

    def end(self, name: str, number: int = signal.SIGTERM) -> None:
        process = self.processes.pop(name)
        process.send_signal(number)
        process.wait(30)

    def log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text(errors="replace")[-2000:]

    # --- agents

    def configure(
        self, name: str, *, files: str = "*.dat", instrument: str = INSTRUMENT, station: str = STATION
    ) -> Path:
        folder = self._folder / name
        folder.mkdir(exist_ok=True)
        path = folder / "agent.toml"
        path.write_text(
            f'station = "{station}"\n[broker]\nhost = "{self.broker.host}"\nport = {self.broker.port}\n'
            "[batch]\nsamples = 60\nseconds = 0.5\nresend = 2.0\n"
            f'[[instrument]]\nname = "{instrument}"\ndriver = "picarro"\npath = "{files}"\npoll = 0.05\n'
        )
        return path

    def agent(self, configuration: Path, *words: str) -> subprocess.Popen:
        verb, *rest = words or ("run",)
        return self.start(configuration.parent.name, "station_agent", verb, "--config", str(configuration), *rest)

    def deliver(self, configuration: Path, *words: str, seconds: float = 120) -> None:
        """Run an agent to its end."""
        process = self.agent(configuration, *words)
        assert process.wait(seconds) == 0, self.log(configuration.parent.name)
        self.processes.pop(configuration.parent.name)

    # --- the database

    def query(self, text: str, *parameters) -> list[tuple]:
        with psycopg.connect(self.dsn) as conn:
            return conn.execute(text, parameters).fetchall()

    def readings(self) -> list[tuple]:
        return self.query(
            "SELECT i.name, c.quantity, r.time, r.value, s.port, s.status, s.mark FROM reading r"
            " JOIN channel c ON c.id = r.channel_id JOIN instrument i ON i.id = c.instrument_id"
            " JOIN state s ON s.id = r.state_id ORDER BY 1, 2, 3"
        )

    def count(self) -> int:
        return self.query("SELECT count(*) FROM reading")[0][0]
