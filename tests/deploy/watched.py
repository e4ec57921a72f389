"""A network that is watched: a real agent, broker, worker, database, quality control, and a Prometheus that scrapes."""

import json
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import yaml
from psycopg import conninfo

from deploy.jobs import qc
from deploy.local.broker import free_port
from ingest import ledger, products
from ingest.database import connect
from ingest.ledger import Decision
from ingest.products import InventoryEntry, InversionRun, Region
from ingest.roles import Role, user
from station_agent.wire import Kind
from tests.ingest.payloads import batch, event, samples
from tests.ingest.station import station
from tests.ingest.test_metrics import STATUS
from tests.path.network import Network, until
from tests.servers import absent, throwaway_folder

FILES = Path(__file__).parents[2] / "deploy"
STATION, INSTRUMENT, OTHER = "lin-an", "simulated", "wuhan"
DAYS = 3
TANKS = {"11": (385.0, 1850.0), "12": (445.0, 2150.0), "13": (415.0, 1980.0)}
"""Port -> CO2 and CH4 of its cylinder; the last is a target."""


def document():
    """The catalogue: a station with cylinders, one that speaks of itself, and one nobody has ever heard."""
    places = [
        {
            "name": name,
            "title": title,
            "latitude": 30.3 + k,
            "longitude": 119.7,
            "altitude": 139.0,
            "inlet": [{"name": "50m", "height": 50.0}],
            "instrument": [
                {"name": INSTRUMENT, "model": "simulated", "port": [{"port": "1", "inlet": "50m"}]},
                {"name": "g2301", "model": "none", "port": [{"port": "1", "inlet": "50m"}]},
            ],
        }
        for k, (name, title) in enumerate({STATION: "临安", OTHER: "Wuhan", "xuzhou": "Xuzhou"}.items())
    ]
    cylinders = [
        {"name": f"tank{port}", "species": gas, "value": values[k], "uncertainty": 0.01, "scale": scale}
        for port, values in TANKS.items()
        for k, (gas, scale) in enumerate({"co2": "WMO CO2 X2019", "ch4": "WMO CH4 X2004A"}.items())
    ]
    return {"station": places, "cylinder": cylinders}


def series():
    """How quality control evaluates it."""
    hung = [{"port": port, "cylinder": f"tank{port}"} for port in TANKS]
    calibration = {"flush_seconds": 120, "episode_hours": 6, "history_days": 30}
    calibration |= {"standard": hung[:2], "target": hung[2:]}
    common = {"water": {"method": "none"}, "tests": {"sd": {}, "gap": {}}}
    return [
        {
            "model": "simulated",
            "flush_seconds": 60,
            "species": {
                "co2": {**common, "scale": "WMO CO2 X2019", "u_cmr": 0.02, "range": {"bad": [300, 2000]},
                        "calibration": {"repeatability": 0.02, "drift": 0.02}},
                "ch4": {**common, "scale": "WMO CH4 X2004A", "u_cmr": 0.2, "range": {"suspect": [1700, 1990]},
                        "calibration": {"repeatability": 0.2, "drift": 0.2}},
            },
            "calibration": calibration,
        }
    ]  # fmt: skip


def agent_toml(broker):
    start = datetime.now(UTC) - timedelta(days=DAYS)
    standards = ", ".join(f'{{ port = "{port}", co2 = {co2}, ch4 = {ch4} }}' for port, (co2, ch4) in TANKS.items())
    return (
        f'station = "{STATION}"\n[broker]\nhost = "{broker.host}"\nport = {broker.port}\n'
        "[batch]\nsamples = 300\nseconds = 0.5\n"
        f'[[instrument]]\nname = "{INSTRUMENT}"\ndriver = "simulated"\ninterval = 30.0\nports = ["1"]\n'
        f'start = "{start:%Y-%m-%dT%H:%M:%SZ}"\nco2_drift = 0.3\nspike_probability = 0.02\n'
        f"[instrument.calibration]\nevery = 21600\ndwell = 600\nstandards = [{standards}]\n"
    )


class Watched:
    """What runs, and how it is asked."""

    def __init__(self, folder, network):
        self.network = network
        self._folder = folder
        self.metrics, self.prometheus = free_port(), free_port()
        self.end = datetime.now(UTC) + timedelta(hours=1)
        self.start = self.end - timedelta(days=DAYS + 1)
        self._sent = 0

    # --- filling it, by the way everything goes ---

    def fill(self):
        network = self.network
        network.apply(document())
        with connect(network.dsn) as conn:
            for name, role in {"incoming": Role.INGEST, "jobs": Role.QC, "grafana": Role.READER}.items():
                user(conn, name, role, connections=10)
        address = f"{network.broker.host}:{network.broker.port}"
        network.start(
            "ingest", "deploy", "ingest", "run", "--dsn", self.dsn("incoming"), "--broker", address,
            "--metrics", f"127.0.0.1:{self.metrics}", "--previews", "1",
        )  # fmt: skip
        network.wait_for_ingest()
        self._speak()
        configuration = self._folder / "agent" / "agent.toml"
        configuration.parent.mkdir()
        configuration.write_text(agent_toml(network.broker))
        network.agent(configuration)
        whole = "SELECT max(r.time) > now() - interval '5 minutes' FROM reading r JOIN channel c ON c.id = r.channel_id"
        whole += " JOIN instrument i ON i.id = c.instrument_id WHERE i.name = 'simulated'"
        until(lambda: network.query(whole)[0][0], "all readings are there", seconds=120)
        until(lambda: network.query("SELECT count(*) > 10 FROM preview_hour")[0][0], "previews are there")
        qc.run_once(self.dsn("jobs"), series())
        self._decide()
        until(self._evaluated_again, "hours are evaluated again after the decision")
        self._invert()

    def _evaluated_again(self):
        qc.run_once(self.dsn("jobs"), series())
        twice = "SELECT time FROM hour WHERE species = 'co2' AND time < now() - interval '1 day'"
        return self.network.query(f"{twice} GROUP BY time HAVING count(*) > 1")

    def dsn(self, name):
        return conninfo.make_conninfo(self.network.dsn, options=f"-c role={name}")

    def _speak(self):
        now = int(time.time())
        with station(self.network.broker, STATION) as one, station(self.network.broker, OTHER) as other:
            one.deliver([b"junk"])
            one.deliver([event(spool="e", at=now - 3600, detail={"what": "filter"})], kind=Kind.EVENT)
            one.deliver([event("valve_moved", spool="e", seq=2, at=now - 1800)], kind=Kind.EVENT)
            other.say(json.dumps({**STATUS, "time": now * 1000, "reading": "on", "disk_free": 5e9}).encode())
        self.send()

    def send(self):
        """A batch of the other station, so that there is always something new to be counted."""
        self._sent += 1
        with station(self.network.broker, OTHER) as other:
            other.deliver([batch(samples(3, first=int(time.time()) - 600), spool="watched", seq=self._sent)])

    def _decide(self):
        middle = self.end - timedelta(hours=30)
        decision = Decision(
            station=STATION, start=middle, end=middle + timedelta(hours=3), flag="suspect", author="Li", reason="a fire"
        )
        ledger.add(self.dsn("jobs"), decision)

    def _invert(self):
        """Write what an inversion and an inventory write, of the months before."""
        first, last = np.datetime64(self.start.date()), np.datetime64(self.end.date())
        run = InversionRun(
            species="ch4", start=first, end=last, code_version="1", configuration_digest="abc",
            diagnostics={"chi2": 273.0, "dofs": 20.5}, findings=["the domain's edge is near"],
        )  # fmt: skip
        regions = [Region("CN-ZJ", "kt", 820.0, 82.0, 835.0, 52.0), Region("CN-AH", "kt", 1087.0, 148.0, 1348.0, 73.0)]
        entries = [
            InventoryEntry(
                source="NBS", vintage="2025", region=region, species="ch4", first_day=date(2020, 1, 1),
                last_day=date(2030, 12, 31), value=value, sigma=80.0, unit="kt",
            )
            for region, value in {"CN-ZJ": 820.0, "CN-AH": 1087.0}.items()
        ]  # fmt: skip
        with connect(self.network.dsn) as conn, conn.transaction():
            products.write_inventory(conn, entries)
            products.write_inversion(conn, run, regions, covariance=np.diag([52.0**2, 73.0**2]))

    # --- Prometheus ---

    def scrape(self):
        """Start Prometheus with its own file, our addresses in place of the containers', and quicker."""
        program = shutil.which("prometheus")
        if program is None:
            absent("prometheus is not installed: install your system's package prometheus")
        shutil.copytree(FILES / "prometheus", self._folder / "prometheus")
        file = self._folder / "prometheus/prometheus.yml"
        settings = yaml.safe_load(file.read_text())
        settings["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        settings["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{self.metrics}"]}]
        settings["scrape_configs"][1]["static_configs"] = [{"targets": [f"127.0.0.1:{free_port()}"]}]
        del settings["alerting"]
        file.write_text(yaml.safe_dump(settings))
        self.network.run("prometheus", [
            program, f"--config.file={file}", f"--storage.tsdb.path={self._folder / 'tsdb'}", "--log.level=warn",
            f"--web.listen-address=127.0.0.1:{self.prometheus}",
        ])  # fmt: skip
        until(lambda: self.ask("up == 1"), "Prometheus scrapes")

    def ask(self, query):
        """What Prometheus answers to an instant query, (labels, value) each; nothing while it does not answer."""
        address = f"http://127.0.0.1:{self.prometheus}/api/v1/query?" + urllib.parse.urlencode({"query": query})
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                document = json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 503:  # it is starting
                return []
            raise AssertionError(f"{query}: {error.read().decode()}") from None
        except OSError:
            return []
        return [(one["metric"], float(one["value"][1])) for one in document["data"]["result"]]

    def page(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=10) as answer:
            return answer.read().decode()


@contextmanager
def watched():
    """A filled network, scraped."""
    with throwaway_folder() as folder, Network(folder) as network:
        one = Watched(folder, network)
        one.fill()
        one.scrape()
        yield one
