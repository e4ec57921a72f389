"""What the threat table of deploy/SECURITY.md says, and what of it is tested nowhere else."""

import ast
import json
import logging
import re
import subprocess
import sys
import threading
from pathlib import Path

import netCDF4
import pytest

from deploy.errors import DeployError
from deploy.local.broker import mosquitto_program
from deploy.pki import Authority, Kind
from ingest import catalogue, files
from ingest.errors import CatalogueError, FileError
from ingest.migrate import migrate
from station_agent.wire import Kind as Said
from tests.deploy.test_mosquitto_access import Broker, greeted, refused
from tests.ingest.payloads import CATALOGUE, batch, event, samples
from tests.ingest.station import consuming, station
from tests.servers import require_mosquitto

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "deploy/SECURITY.md"
PACKAGES = ("station_agent", "ingest", "qc", "inversion", "deploy")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
ENDS_LINES = re.compile(r"[\n\r\v\f\x1b\x85\u2028\u2029]")
NONE_YET = "none yet"


# --- the table -----------------------------------------------------------------------------------


def rows():
    """Threat, what holds, what is left, and the tests, of each row of the table."""
    lines = [line for line in TABLE.read_text("utf-8").splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[0] != "threat" and not set(row[0]) <= {"-"}]


def named():
    return [test for row in rows() for test in re.findall(r"`(tests/[^`]+)`", row[3])]


def test_every_row_names_its_tests_or_says_that_there_are_none():
    assert len(rows()) >= 20
    for row in rows():
        assert len(row) == 4, row
        assert all(row), row
        assert "::" in row[3] or NONE_YET in row[3], row


def test_the_tests_that_are_named_are_there_and_collected():
    tests = set(named())
    assert len(tests) > 25
    there = sorted({test.partition("::")[0] for test in tests})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "soak or not soak", *there]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    collected = {line.partition("[")[0] for line in done.stdout.splitlines() if "::" in line}
    assert tests <= collected, tests - collected


# --- what the code does nowhere ------------------------------------------------------------------

RUNS_WHAT_IT_READS = {
    "eval", "exec", "compile", "__import__",
    "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads", "shelve.open", "dill.loads",
    "cloudpickle.load", "cloudpickle.loads", "joblib.load", "pandas.read_pickle", "pd.read_pickle",
    "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load",
    "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "tempfile.mktemp",
    "ssl._create_unverified_context",
}  # fmt: skip
UNPACKS = {"shutil.unpack_archive", "tarfile.open"}


def calls(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def findings(text):
    found = []
    for name, node in calls(ast.parse(text)):
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if name in RUNS_WHAT_IT_READS | UNPACKS or name.endswith(".extractall"):
            found.append(name)
        if keywords.get("shell", "False") != "False" or keywords.get("allow_pickle", "False") != "False":
            found.append(f"{name} with {keywords}")
        if name in {"np.load", "numpy.load"} and "allow_pickle" not in keywords:
            continue  # numpy's own default refuses pickles
        if keywords.get("verify") == "False" or keywords.get("autoescape") == "False":
            found.append(f"{name} with {keywords}")
        if name.endswith("jinja2.Environment") and "autoescape" not in keywords:
            found.append(f"{name} without autoescape")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_that_is_read_is_run(path):
    assert findings(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "pickle.load(f)",
        "yaml.load(f, Loader=yaml.Loader)",
        "eval(x)",
        "subprocess.run(x, shell=True)",
        "os.system(x)",
        "np.load(x, allow_pickle=True)",
        "zipfile.ZipFile(x).extractall()",
        "jinja2.Environment(loader=x)",
    ],
)
def test_the_search_finds_what_it_looks_for(text):
    assert findings(text)


CHOSEN = {  # between constants of the code
    "f'CREATE DATABASE {DATABASE}'",
    "f'SELECT id FROM {table} WHERE station_id = %s AND name = %s'",
    "f'SELECT {columns} FROM {table} ORDER BY {order}'",
    "f'BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;'",
    "f'BEGIN IMMEDIATE; {UPGRADES[old]}; PRAGMA user_version = {old + 1}; COMMIT;'",
    "f'PRAGMA {name}'",
}


def test_sql_is_written_in_ingest_alone_and_holds_no_value():
    """A statement is a constant, or is put together by psycopg.sql."""
    spliced = []
    for path in SOURCES:
        for name, node in calls(ast.parse(path.read_text("utf-8"))):
            if name.rpartition(".")[2] not in {"execute", "executemany", "executescript"} or not node.args:
                continue
            text = ast.unparse(node.args[0])
            put_together = isinstance(node.args[0], ast.JoinedStr | ast.BinOp) or ".format(" in text
            if put_together and "sql.SQL(" not in text and text not in CHOSEN:
                spliced.append(f"{path.relative_to(ROOT)}: {text}")
    assert spliced == []
    outside = [path for path in SOURCES if path.relative_to(ROOT).parts[0] not in {"ingest", "station_agent"}]
    outside.remove(ROOT / "deploy/local/postgres.py")  # makes the database of the one-machine stack
    statement = re.compile(r"\"\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM) ")
    assert [str(path.relative_to(ROOT)) for path in outside if statement.search(path.read_text("utf-8"))] == []


# --- names that would be paths -------------------------------------------------------------------

PATHS = ["../../etc/cron.d/x", "/etc/passwd", "a/b", "..", ".", "a\0b", "a\nb", "", "-rf", "a\\b", "x" * 300]


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("name", PATHS)
def test_no_certificate_of_a_name_that_is_a_path(tmp_path, kind, name):
    authority = Authority.create(tmp_path / "pki", "tests")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DeployError, match="is no name of a"):
        authority.issue(name, kind, folder=tmp_path / "out", days=2)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture(scope="module")
def migrated(postgres_server):
    from tests.servers import fresh_database  # noqa: PLC0415  not a fixture

    with fresh_database(postgres_server.dsn) as dsn:
        migrate(dsn)
        yield dsn


@pytest.mark.parametrize("where", ["station", "inlet", "instrument"])
@pytest.mark.parametrize("name", [*PATHS, "<script>alert(1)</script>", "x'; DROP TABLE station; --"])
def test_no_such_name_gets_into_the_catalogue_which_names_files_and_topics(migrated, where, name):
    document = json.loads(json.dumps(CATALOGUE))
    place = document["station"][0]
    (place if where == "station" else place[where][0])["name"] = name
    if name == "a\\b":
        assert "\\" in name
    with pytest.raises(CatalogueError):
        catalogue.apply(migrated, document)
    assert catalogue.export(migrated)["station"] == []


# --- files ---------------------------------------------------------------------------------------


def test_a_netcdf_that_says_it_is_huge_is_not_believed(tmp_path):
    """Seven kilobytes that stand for 745 GiB: what is not written takes no room in the file."""
    path = tmp_path / "huge.nc"
    with netCDF4.Dataset(path, "w") as ds:
        ds.createDimension("time", 10**11)
        for name in ("time", "value"):
            ds.createVariable(name, "f8", ("time",), zlib=True, chunksizes=(10**6,))
    assert path.stat().st_size < 20_000
    with pytest.raises(FileError, match=r"huge\.nc cannot be read as netCDF: it says that it holds 1,600,000,000,000"):
        files.read(path)


@pytest.mark.parametrize("content", [b"\x89HDF\r\n\x1a\n" + bytes(5000), b"\0" * 5000, b'"' * 10**6, b"\xff\xfe" * 500])
def test_files_that_are_nothing_are_refused_in_a_sentence(tmp_path, content):
    (tmp_path / "x.nc").write_bytes(content)
    with pytest.raises(FileError, match=r"x\.nc"):
        files.read(tmp_path / "x.nc")


# --- a station that was stolen ----------------------------------------------------------------------

FORGED = "x\n2026-01-01 00:00:00,000 ERROR ingest: forged\x1b[2J\u2028"
NASTY = [
    '{"state": ' * 5000,
    "[" * 100_000,
    '{"time": 1e999}',
    '{"queue_batches": NaN}',
    b"\xff\xfe\x00",
    "null",
    '"x"',
]


@pytest.mark.timeout(120)
def test_what_a_station_says_forges_no_line_of_the_log_and_stops_nothing(migrated, mosquitto, caplog):
    catalogue.apply(migrated, CATALOGUE)
    caplog.set_level(logging.DEBUG)
    with consuming(migrated, mosquitto) as consumer, station(mosquitto) as one, station(mosquitto, "thief") as thief:
        for text in (*NASTY, json.dumps({"state": FORGED, "reading": FORGED, "station": FORGED, "version": FORGED})):
            one.say(text)
        hostile = [
            batch(samples(3), spool=FORGED, seq=1),
            batch(samples(3), spool="s", seq=2).replace(b'"co2"', json.dumps(FORGED).encode()),
            event(FORGED, detail={FORGED: FORGED}, spool="e", seq=3),
            b'{"v":1,"spool":"s","seq":' + b"9" * 5000 + b',"t":[],"q":{}}',
        ]
        one.deliver(hostile[:2] + hostile[3:])
        one.deliver(hostile[2:3], kind=Said.EVENT)
        hung_up = threading.Event()
        thief._client.on_disconnect = lambda *_: hung_up.set()
        thief.send(batch(samples(2), spool="i", seq=1), instrument=FORGED, qos=0)  # Mosquitto hangs up on such a topic
        assert one.deliver([batch(samples(20, first=1_790_000_500), spool="after")]) == ["stored"]
        assert hung_up.wait(10)
    assert consumer.tally.stored >= 1
    lines = [record.getMessage() for record in caplog.records]
    assert lines
    assert [line for line in lines if ENDS_LINES.search(line)] == []


# --- certificates for computing -----------------------------------------------------------------------


def test_a_certificate_for_computing_is_nobodys_at_the_broker(tmp_path):
    require_mosquitto()
    assert mosquitto_program()
    tmp_path.chmod(0o755)
    broker = Broker(tmp_path)
    broker.start()
    try:
        computing = Authority.create(tmp_path / "computing", "computing")
        computing.issue("alpha", Kind.COMPUTE, folder=tmp_path / "stolen", days=2)
        assert greeted(broker, broker.context("alpha"))
        words = "unknown ca|decrypt error|bad certificate"
        refused(broker, broker.context("alpha", keys=tmp_path / "stolen"), words)
    finally:
        broker.stop()


# --- what is installed --------------------------------------------------------------------------------

LOCKS = [
    "requirements.lock",
    "deploy/requirements.lock",
    *sorted(str(p.relative_to(ROOT)) for p in ROOT.glob(".ci/*.lock")),
]


@pytest.mark.parametrize("lock", LOCKS)
def test_everything_that_is_installed_is_held_to_a_hash(lock):
    """An exact version and a SHA-256 each, from no address in particular."""
    text = (ROOT / lock).read_text("utf-8")
    entries = re.split(r"\n(?=\S)", text.strip())
    assert len(entries) > 20
    for entry in entries:
        assert re.match(r"[\w.\[\],-]+==[\w.+!-]+", entry), entry[:80]
        assert "--hash=sha256:" in entry, entry[:80]
    assert "://" not in text


def test_what_the_server_installs_is_what_the_tests_ran_with():
    pins = [dict(re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / lock).read_text(), re.MULTILINE)) for lock in LOCKS[:2]]
    assert set(pins[1]) <= set(pins[0])
    assert {name: pins[0][name] for name in pins[1]} == pins[1]
