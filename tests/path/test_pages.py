"""Every command on the technician's, the operator's and the PI's page is typed as it is printed, one after another.

Against a real database, broker and ingest; placeholders are filled in as the tables below say. Commands of README and
of the other pages are run by the tests that `ELSEWHERE` names; no command is without one.
"""

import ast
import importlib
import importlib.util
import os
import random
import re
import signal
import subprocess
import sys
import time
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ingest import export, files
from station_agent.sample import Sample
from station_agent.wire import Kind, encode_batch, instrument_topic
from tests import printed, servers
from tests.ingest.test_backfill import obs
from tests.path import picarro_log
from tests.path.network import Network, until
from tests.path.test_kept_aside import publish
from tests.printed import ROOT, bare

BIN = Path(sys.executable).parent
PATIENCE = 120.0
FIRST = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
DAY = 86400
ROWS = DAY // 10
STRANGE = 1_773_100_800_000_000_000  # ns, a day without readings

FILLED = {
    "ingest/README.md": {
        "LOGFILE…": "march-1.dat march-2.dat",
        "LOGFILE": "march-1.dat",
        "ARCHIVE…": "lin-an.CO2",
        "FILE…": "lin-an.CO2",
        "--from … --to …": "--from 2026-03-01 --to 2026-03-02",
    },
    "qc/README.md": {
        "--dsn DSN": "",
        "STATION": "lin-an",
        "CYLINDER": "CB09947",
        "OTHER": "D9001",
        "--from … --to …": "--from 2026-03-01T03:00 --to 2026-03-01T04:00 --why cleaned --who 'Li Hua'",
        "--why … --who …": "",
    },
    "station_agent/README.md": {"g2301": "g2401", "FILE…": "old.dat", "/media/usb/": ""},
}
"""What a reader fills in, page by page."""

_INVERT = "tests/deploy/test_invert_command.py::test_the_pages_commands_run"
_TRIALS = "tests/deploy/test_trials_command.py::test_the_pages_commands_run"
_LEDGERS = "tests/deploy/test_inventory_command.py::test_the_pages_commands_run"
_REPORT = "tests/inversion/test_inventory_report_page.py::test_the_configuration_and_its_states_run_as_they_stand"
_BY_HAND = ("python3 -m venv", "/opt/skyledger/bin/pip", "useradd", "install -", "cp ", "systemctl ", "runuser ")
ELSEWHERE = {
    "README.md": {
        "make demo": ".ci/run::step make demo",
        "make test": ".ci/run::make test",
        "skyledger demo": "tests/deploy/test_demo_command.py::test_real_files_are_replayed_and_what_is_not_is_named",
        "skyledger invert CONFIG.toml": _INVERT,
        "skyledger invert CASE.nc": "tests/inversion/test_gosan.py::test_the_command",
        "skyledger crosscheck CONFIG.toml": _REPORT,
        "skyledger catalog apply": "tests/path/test_pages.py::test_the_operators_page",
        "station-agent ": "tests/path/test_pages.py::test_the_technicians_page",
    },
    "inversion/README.md": {
        "skyledger invert": _INVERT,
        "skyledger twins": _TRIALS,
        "skyledger design": _TRIALS,
        "skyledger footprints run": "tests/deploy/test_footprints_command.py::test_",
        "skyledger crosscheck": "tests/deploy/test_crosscheck_inversion.py::test_",
    },
    "inversion/inventory/README.md": {
        "skyledger crosscheck annex.toml": _REPORT,
        "skyledger crosscheck CONFIG.toml": _REPORT,
        "skyledger crosscheck run/crosscheck.nc": "tests/inversion/test_crosscheck_command.py::test_",
        "skyledger inventory": _LEDGERS,
        "skyledger warn": _LEDGERS,
    },
    "inversion/inventory/BALANCE.md": {"skyledger warn": "tests/inversion/test_warning_file.py::test_"},
    "station_agent/README.md": dict.fromkeys(_BY_HAND, "tests/deploy/test_walk.py::by_hand"),
}
"""Commands that other tests run: their beginning, and the test."""

NAME = re.compile(r"[a-z-]+( [a-z-]+)*")
"""The name of a command in a sentence, with nothing to do: that there is one is all that is asked."""
PAGES = dict.fromkeys([*FILLED, *ELSEWHERE])
NAMES = {command.text for page in PAGES for command in printed.spoken(page) if NAME.fullmatch(command.text)}


class Desk:
    """Types commands in a folder, as somebody would who has our commands on the path and the database's address set."""

    def __init__(self, network, place):
        self.network, self.place = network, place
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "SKYLEDGER_DSN": network.dsn, "USER": "li.hua"}
        self._here = {"cwd": place, "env": environment}

    def run(self, line):
        command = ["bash", "-c", line]
        return subprocess.run(command, **self._here, capture_output=True, text=True, timeout=200, check=False)

    def type(self, line):
        done = self.run(line)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def doctor(self, line):
        """Ask how everything is; of this machine's clock nothing is known."""
        done = self.run(line)
        assert done.returncode in (0, 1), done.stderr
        wrong = [one for one in done.stdout.splitlines() if one.startswith("not ok") and "clock" not in one]
        assert not wrong, done.stdout
        return done.stdout

    def until_done(self, line, done):
        """Type what goes on until it is stopped; press Ctrl-C once it has done its work."""
        log = self.place / "endless.log"
        with log.open("wb") as file:
            command = ["bash", "-c", f"exec {line}"]
            process = subprocess.Popen(command, **self._here, stdout=file, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + PATIENCE
            while not done():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, f"{line} has not done its work:\n{log.read_text()}"
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            assert process.wait(30) in (0, 130, -signal.SIGINT), log.read_text()
        finally:
            process.kill()
            process.wait()


def write_log(path, draw, start, *, rows=ROWS):
    text = picarro_log.lines(0, rows, draw, start=start, spacing=10.0)
    picarro_log.write(path, text.replace("1.0000000000E+01", "1.0000000000E+00"))


def series_of(page):
    """The configuration that a page shows as an indented block."""
    block = re.search(r"\n\n(    \[\[series\]\]\n.*?)\n\n[A-Z]", page.read_text("utf-8"), re.DOTALL)[1]
    return "\n".join(line[4:] for line in block.splitlines()) + "\n"


@pytest.fixture(scope="module")
def desk():
    """A folder with what the pages speak of, and the network it is typed beside."""
    with servers.throwaway_folder() as folder, Network(folder) as network:
        network.start_ingest()
        network.wait_for_ingest()
        place = folder / "desk"
        place.mkdir()
        page = (ROOT / "ingest/README.md").read_text("utf-8")
        catalogue = re.search(r"```toml\n(.*?)```", page, re.DOTALL)[1]
        # Of a model that quality control knows without being told.
        (place / "stations.toml").write_text(catalogue.replace("Picarro G2401", "Picarro G2301"), "utf-8")
        cylinders = "cylinder,species,value,uncertainty,scale\nD9001,co2,420.1,0.02,WMO CO2 X2019\n"
        (place / "cylinders.csv").write_text(cylinders)
        draw = random.Random(5)
        write_log(place / "march-1.dat", draw, FIRST)
        write_log(place / "march-2.dat", draw, FIRST + DAY)
        write_log(place / "old.dat", draw, FIRST - DAY, rows=100)
        export.icos(obs(5), place / "lin-an.CO2")
        (place / "network.toml").write_text(series_of(ROOT / "qc/README.md"), "utf-8")
        agent = network.configure("agent", files=f"{place}/live.dat", instrument="g2401")
        write_log(place / "live.dat", draw, FIRST + 3 * DAY, rows=50)
        (place / "agent.toml").write_text(agent.read_text())
        yield Desk(network, place)


def filled(page, command):
    line = bare(command)
    for blank, word in FILLED[page].items():
        line = line.replace(blank, word)
    assert "…" not in line, line
    return line


def lines_of(page):
    """All commands of ours on a page in their order: blocks, then sentences."""
    spoken = [command for command in printed.spoken(page) if not NAME.fullmatch(command.text)]
    return list(dict.fromkeys(command.text for command in [*printed.blocks(page, printed.OURS), *spoken]))


def test_the_operators_page(desk):
    network, said = desk.network, {}
    for text in lines_of("ingest/README.md"):
        line = filled("ingest/README.md", text)
        if line == "skyledger aside list":
            samples = [Sample(STRANGE + n * 10**9, {"co2": 420.0 + n}) for n in range(3)]
            publish(network, (instrument_topic("linan", "g2401", Kind.DATA), encode_batch(samples, spool="s", seq=1)))
            until(lambda: network.query("SELECT 1 FROM message WHERE state = 'aside'"), "it is kept aside")
        if "NUMBER" in line:
            ((number,),) = network.query("SELECT min(id) FROM message WHERE state = 'aside'")
            line = line.replace("NUMBER", str(number))
        said[text] = desk.type(line)
    assert len(said) >= 14
    assert tomllib.loads((desk.place / "all.toml").read_text("utf-8"))["station"][0]["name"] == "lin-an"
    assert "Li Hua" in said["skyledger catalog history lin-an"]
    times = "SELECT count(DISTINCT time) FROM reading WHERE time >= '2026-03-01' AND time < '2026-03-03'"
    assert network.query(times) == [(2 * ROWS,)]
    assert network.query("SELECT count(*) FROM message WHERE state = 'aside'") == [(0,)]
    (written,) = desk.place.glob("co2_lin-an_50m_icos*")
    assert files.read(written).sizes["time"] == 5


def test_the_pis_page(desk):
    """After the operator's: its readings are those this page works on."""
    said = {}
    for text in lines_of("qc/README.md"):
        line = filled("qc/README.md", text)
        if "--watch" in line:
            desk.until_done(line, lambda: desk.network.query("SELECT 1 FROM minute LIMIT 1"))
        else:
            said[text] = desk.type(line)
    assert desk.network.query("SELECT count(*) FROM manual_flag")[0][0] >= 2
    assert "12:34" in next(text for name, text in said.items() if "explain" in name)
    assert list(desk.place.rglob("*.html"))
    assert "Li Hua" in next(text for name, text in said.items() if name.startswith("skyledger qc ledger"))


def test_the_technicians_page(desk):
    """A station beside the network: every command of the agent, as the table has them."""
    count = desk.network.count
    before, said = count(), {}
    for text in lines_of("station_agent/README.md"):
        if text.startswith("station-agent run"):
            desk.until_done(text, lambda: count() > before)
        elif text.startswith("station-agent doctor"):
            said[text] = desk.doctor(text)
        elif "--config" in text:
            said[text] = desk.type(filled("station_agent/README.md", text))
    assert len(said) >= 6
    days = {day.isoformat() for (day,) in desk.network.query("SELECT DISTINCT time::date FROM reading")}
    assert {"2026-02-28", "2026-03-04"} <= days


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_command_that_is_named_is_one(desk, name):
    assert "sage: " in desk.type(f"{name} --help")


@pytest.mark.parametrize("page", list(ELSEWHERE))
def test_every_other_command_is_run_by_a_test(page):
    typed = set(lines_of(page)) if page in FILLED else set()
    for command in [*printed.blocks(page), *printed.spoken(page)]:
        text = bare(command.text)
        ours = text.startswith((*printed.OURS, "make ", *_BY_HAND))
        if not ours or command.text in typed or NAME.fullmatch(text):
            continue
        place = next((test for beginning, test in ELSEWHERE[page].items() if text.startswith(beginning)), None)
        assert place, f"{page}: no test runs {text!r}"
        file, _, name = place.partition("::")
        held = (ROOT / file).read_text("utf-8")
        assert (f"def {name}" in held) if file.endswith(".py") else (name in held), place


def blocks_of_python():
    folders = ("station_agent", "ingest", "qc", "inversion", "deploy", "notebooks")
    pages = [ROOT / "README.md", *(page for folder in folders for page in sorted((ROOT / folder).rglob("*.md")))]
    texts = {page: page.read_text("utf-8") for page in pages}
    return [
        pytest.param(block, id=f"{page.relative_to(ROOT)}-{number}")
        for page, text in texts.items()
        if not text.startswith("---\njupytext")
        for number, block in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL), 1)
        if ">>>" not in block
    ]


@pytest.mark.parametrize("block", blocks_of_python())
def test_what_blocks_of_python_import_is_there(block):
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            for alias in node.names:
                there = hasattr(module, alias.name) or importlib.util.find_spec(f"{node.module}.{alias.name}")
                assert there, f"{node.module} has no {alias.name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                importlib.import_module(alias.name)
