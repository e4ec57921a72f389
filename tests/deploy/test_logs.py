"""The servers' log: every line is one line, nothing secret is in it, and what repeats itself is counted."""

import ast
import io
import json
import logging
import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy import logs
from ingest import catalogue
from ingest.migrate import migrate
from tests.deploy.processes import eventually
from tests.deploy.test_qc_job import put, samples
from tests.path.network import STATION, document

ROOT = Path(__file__).parents[2]
FIELD = re.compile(r'([A-Za-z0-9_]+)=("(?:[^"\\]|\\.)*"|[^\s"=\\]+)(?: |\Z)')
SKYLEDGER = (sys.executable, "-P", "-m", "deploy")
SECRET = "hunter22/+ü"


def parsed(line):
    """A line by another's reader: fields, each of which follows the one before; raises where it is none."""
    fields, at = {}, 0
    while at < len(line):
        found = FIELD.match(line, at)
        assert found, line[at:]
        assert found[1] not in fields, line
        fields[found[1]] = json.loads(found[2]) if found[2].startswith('"') else found[2]
        at = found.end()
    return fields


def record(template, *values, **fields):
    made = logging.LogRecord("ingest.test", logging.WARNING, __file__, 1, template, values, None)
    vars(made).update(fields)
    return made


# --- a line is a line ---------------------------------------------------------------------------------

NASTY = st.one_of(
    st.text(),
    st.text(alphabet=' ="\\\n\r\t\x0b\x0c\x1b\x85\u2028\u2029\u202e\x00\x7f a'),
    st.text(alphabet=st.characters(categories=["Cs", "Co", "Cf", "Cn"])),
    st.sampled_from(
        ['x" level=info msg="forged', "x\nts=2026-01-01T00:00:00Z level=error msg=forged", "\\", '\\"', ""]
    ),
)


@given(st.dictionaries(st.sampled_from(["station", "inlet", "msg", "event"]), NASTY, min_size=1))
def test_whatever_is_in_it_it_is_one_line_and_says_the_same(fields):
    line = logs.logfmt(fields)
    assert line.isprintable()
    assert len(line.splitlines()) == 1
    assert parsed(line) == fields


@given(NASTY, NASTY)
def test_no_station_and_no_payload_forges_a_line_or_a_field(station, payload):
    made = record("message of %r cannot be kept: %s", station, payload, event="message_unkeepable", station=station)
    fields = parsed(logs.Logfmt().format(made))
    assert list(fields) == ["ts", "level", "event", "station", "msg"]
    assert (fields["level"], fields["event"]) == ("warning", "message_unkeepable")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", fields["ts"])
    sentence = logs.Sentence().format(made)
    assert sentence.isprintable()


def test_names_in_chinese_stay_readable_and_keys_are_words():
    line = logs.logfmt({"station": "临安", "a b=c": 1, "empty": ""})
    assert line == 'station="临安" a_b_c=1 empty=""'


def test_a_value_without_end_is_cut():
    line = logs.logfmt({"msg": "x" * 1_000_000})
    assert len(line) < logs.MOST + 20
    assert parsed(line)["msg"].endswith("x…")


def test_a_traceback_is_in_one_line():
    made = record("lost")
    with pytest.raises(ValueError, match="two") as caught:
        int("two\nlines")
    made.exc_info = (caught.type, caught.value, caught.tb)
    fields = parsed(logs.Logfmt().format(made))
    assert fields["trace"].startswith("Traceback (most recent call last):\n")
    assert fields["trace"].endswith(r"ValueError: invalid literal for int() with base 10: 'two\nlines'")


# --- nothing secret -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u:hunter22@db/skyledger",
        "host=db user=u password=hunter22",
        "host=db password='hunter22' sslpassword=hunter22",
        "host=db password = hunter22",
        "postgresql://db/skyledger?user=u&password=hunter22",
    ],
)
def test_the_password_of_an_address_is_known_and_looks_like_one(dsn):
    assert logs.secrets_of(dsn) == ["hunter22"]
    formatter = logs.Logfmt(logs.secrets_of(dsn))
    assert "hunter22" not in formatter.format(record("cannot connect with %s: hunter22", dsn, station="hunter22"))
    # Also where nobody has said what it is.
    assert "hunter22" not in logs.cleared(f"cannot connect with {dsn}")


def test_a_password_in_other_letters_is_known_in_both_forms(monkeypatch):
    monkeypatch.setenv("PGPASSWORD", "from the environment")
    found = logs.secrets_of("postgresql://u:hunter22%2F%2B%C3%BC@db/x", "broker's", None)
    assert set(found) >= {SECRET, "hunter22%2F%2B%C3%BC", "from the environment", "broker's"}


def test_keys_are_not_shown():
    key = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\nabc\n-----END EC PRIVATE KEY-----"
    assert logs.cleared(f"cannot read {key} here") == "cannot read *** here"
    assert "MHc" not in logs.cleared(key[:50])
    text = "mqtts://worker:pa@ss@broker:8883; passphrase: abc; token=def; SKYLEDGER_BROKER_PASSWORD=ghi, 'x'"
    assert not re.search(r"pa@|abc|def|ghi", logs.cleared(text))


def test_what_is_no_secret_stays():
    text = 'connection to server at "db", port 5432 failed: FATAL: password authentication failed for user "jobs"'
    assert logs.cleared(text) == text
    assert logs.secrets_of("host=db password=abc") == []  # three letters are in every second word


@pytest.mark.parametrize(
    "dsn",
    [
        f"host=127.0.0.1 port=9 user=u password={SECRET}",
        f"host=127.0.0.1 password=abc {SECRET}",
        f"password='{SECRET}",
        f"host=127.0.0.1 pasword={SECRET}",
        f"postgresql://u:{SECRET}@127.0.0.1:port/x",
        f"postgresql://u:{SECRET}@[::1/x",
        f"postgresql://127.0.0.1:9/x?password={SECRET}&unknown=1",
        f"postgresql://u:%zz{SECRET}@127.0.0.1:9/x",
    ],
)
def test_what_libpq_says_of_an_address_shows_no_password(dsn):
    """It quotes what it could not read."""
    with pytest.raises(psycopg.Error) as caught:
        psycopg.connect(dsn, connect_timeout=1)
    line = logs.Logfmt(logs.secrets_of(dsn)).format(record("the database cannot be asked: %s", caught.value))
    done = skyledger("db", "status", "--dsn", dsn)
    assert done.returncode == 1
    for said in (line, done.stdout + done.stderr):
        assert "hunter22" not in said
        assert "Traceback" not in said
    assert done.stderr.count("\n") == 1


# --- nothing a thousand times -------------------------------------------------------------------------


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def limited():
    stream, clock = io.StringIO(), Clock()
    handler = logs.Limited(stream, monotonic=clock)
    handler.setFormatter(logs.Logfmt())
    yield handler, clock, lambda: [parsed(line) for line in stream.getvalue().splitlines()]
    handler.close()


def test_what_repeats_itself_is_written_once_and_counted(limited):
    handler, clock, lines = limited
    for k in range(59):
        handler.handle(record("cannot connect: %s", k, event="broker_unreachable"))
    assert len(lines()) == 1
    clock.now = 61.0
    handler.sum_up()
    assert [(said["msg"], said.get("repeated")) for said in lines()] == [
        ("cannot connect: 0", None),
        ("cannot connect: 58", "58"),
    ]
    seen = record("cannot connect", repeated=58)
    assert logs.Sentence().format(seen).endswith("WARNING ingest.test: cannot connect (repeated 58 times)")
    # While it lasts, a line a minute; when it has ended and comes again, at once.
    handler.handle(record("cannot connect: %s", 59, event="broker_unreachable"))
    assert len(lines()) == 2
    clock.now = 122.0
    handler.sum_up()
    assert lines()[-1]["repeated"] == "1"
    clock.now = 200.0
    handler.sum_up()
    handler.handle(record("cannot connect: %s", 60, event="broker_unreachable"))
    assert (len(lines()), lines()[-1]["msg"]) == (4, "cannot connect: 60")


def test_other_stations_and_other_faults_are_apart_and_results_are_all_written(limited):
    handler, _, lines = limited
    for name in ("lin-an", "wuhan", "lin-an"):
        handler.handle(record("its quota is full", station=name, event="aside_quota_full"))
    handler.handle(record("another"))
    for _ in range(3):
        handler.handle(record("60 minutes", event="evaluated", every=True))
    assert [said.get("station") for said in lines()] == ["lin-an", "wuhan", None, None, None, None]


def test_what_was_not_written_is_told_at_the_end(limited):
    handler, _, lines = limited
    for _ in range(5):
        handler.handle(record("again"))
    handler.close()
    assert [said.get("repeated") for said in lines()] == [None, "4"]


def test_it_is_told_in_time_though_nothing_else_happens():
    stream = io.StringIO()
    handler = logs.Limited(stream, window=0.2)
    handler.setFormatter(logs.Logfmt())
    for _ in range(3):
        handler.handle(record("again"))
    assert eventually(lambda: "repeated=2" in stream.getvalue())
    handler.close()


def test_faults_somebody_makes_up_take_no_memory(limited):
    handler, _, lines = limited
    for k in range(3 * logs.FAULTS):
        handler.handle(record("unknown", station=f"s{k}"))
    assert len(handler._seen) <= logs.FAULTS + 1
    assert len(lines()) <= logs.FAULTS + 1
    handler.close()
    assert sum(int(said.get("repeated", 1)) for said in lines()) == 3 * logs.FAULTS


# --- the commands -------------------------------------------------------------------------------------


def skyledger(*arguments, **environment):
    clean = {name: value for name, value in os.environ.items() if name not in {logs.VARIABLE, "PGPASSWORD"}}
    return subprocess.run(
        [*SKYLEDGER, *arguments], capture_output=True, text=True, check=False, env=clean | environment, timeout=120
    )


@contextmanager
def going_on(*arguments, stderr=subprocess.PIPE):
    process = subprocess.Popen([*SKYLEDGER, *arguments], stdout=subprocess.PIPE, stderr=stderr, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def lines_of(text):
    return [parsed(line) for line in text.splitlines()]


NOWHERE = ("ingest", "run", "--broker", "127.0.0.1:9", "--dsn", f"host=127.0.0.1 port=9 user=u password='{SECRET}'")


def test_a_worker_without_anything_says_so_in_lines_without_secrets():
    with going_on(*NOWHERE) as worker:
        said = {}
        while not {"broker_unreachable", "database_unwritable"} <= set(said):
            fields = parsed(worker.stderr.readline().rstrip("\n"))
            assert said.setdefault(fields["event"], fields) is fields, "once"
        worker.send_signal(signal.SIGTERM)
        rest, more = worker.communicate(timeout=60)
    assert rest == ""
    last = lines_of(more)
    assert last[-1]["event"] == "stopped" or {"stopped"} <= {fields["event"] for fields in last}
    assert any("repeated" in fields for fields in last)
    assert "hunter22" not in json.dumps([*said.values(), *last], ensure_ascii=False)


def test_a_person_at_a_terminal_reads_sentences():
    ours, theirs = pty.openpty()
    text = b""
    with going_on(*NOWHERE, stderr=theirs) as worker:
        os.close(theirs)
        while b"cannot connect to the broker" not in text:
            text += os.read(ours, 4096)
        worker.send_signal(signal.SIGINT)
        with suppress(OSError):  # nobody holds the other end any more
            while piece := os.read(ours, 4096):
                text += piece
        assert worker.wait(60) == 0
        assert "0 messages stored" in worker.stdout.read()
    os.close(ours)
    assert b"ts=" not in text
    assert b" WARNING ingest.consumer: cannot connect to the broker 127.0.0.1:9" in text


@pytest.fixture
def store(plain_dsn):
    migrate(plain_dsn)
    catalogue.apply(plain_dsn, document())
    return plain_dsn


def test_jobs_of_units_write_lines_and_those_of_people_sentences(store):
    put(store, samples(range(0, 7200, 20)), seq=1)
    done = skyledger("qc", "run", "--dsn", store, SKYLEDGER_LOG="logfmt")
    assert (done.returncode, done.stdout) == (0, "")
    (fields,) = lines_of(done.stderr)
    assert (fields["event"], fields["level"], fields["station"], fields["inlet"]) == (
        "evaluated", "info", STATION, "50m",
    )  # fmt: skip
    assert skyledger("qc", "run", "--dsn", store).stdout == "Nothing new since the last run.\n"
    done = skyledger("db", "maintain", "--dsn", store, SKYLEDGER_LOG="logfmt")
    assert (done.returncode, done.stdout) == (0, "")
    assert {fields["event"] for fields in lines_of(done.stderr)} == {"maintained"}
    assert "ts=" not in skyledger("db", "maintain", "--dsn", store).stdout


def test_what_goes_on_writes_lines_by_itself_and_ends_with_one(store):
    put(store, samples(range(0, 7200, 20)), seq=1)
    with going_on("qc", "run", "--watch", "--every", "1", "--dsn", store) as job:
        assert parsed(job.stderr.readline().rstrip("\n"))["event"] == "evaluated"
        with psycopg.connect(store, autocommit=True) as conn:
            conn.execute("DROP TABLE feed_cursor CASCADE")
        (fields,) = lines_of(job.communicate(timeout=60)[1])
    assert (fields["event"], fields["level"]) == ("crashed", "critical")
    assert "feed_cursor" in fields["msg"]
    assert job.returncode == 1


def test_a_form_that_is_none_is_said():
    done = skyledger(*NOWHERE, SKYLEDGER_LOG="json")
    assert (done.returncode, done.stderr) == (1, "skyledger: SKYLEDGER_LOG='json': expected logfmt or text\n")


def test_an_error_nobody_expected_is_one_line_in_any_thread():
    program = (
        "import threading\nfrom deploy import logs\n"
        "logs.start(steady=True, secrets=['hunter22'])\n"
        "def fail():\n    raise RuntimeError('hunter22\\nts=0 level=info')\n"
        "thread = threading.Thread(target=fail); thread.start(); thread.join()\nfail()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1
    said = lines_of(done.stderr)
    assert [fields["event"] for fields in said] == ["crashed", "crashed"]
    assert all(fields["msg"] == "an error nobody expected, RuntimeError: ***\nts=0 level=info" for fields in said)
    assert all("Traceback" in fields["trace"] for fields in said)


# --- what is logged -----------------------------------------------------------------------------------


def events():
    """Every event that is logged or said, by file."""
    found = {}
    for path in (*ROOT.glob("ingest/**/*.py"), *ROOT.glob("deploy/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            who = getattr(node.func.value, "id", "")
            if who == "log" and node.func.attr in {"info", "warning", "error", "critical", "exception"}:
                text = "".join(ast.unparse(word.value) for word in node.keywords if word.arg == "extra")
                found.setdefault(path.name, []).extend(re.findall(r"'event': '(\w+)'", text) or [None])
            elif who == "logs" and node.func.attr == "say":
                text = "".join(ast.unparse(word.value) for word in node.keywords if word.arg == "event")
                found.setdefault(path.name, []).extend(re.findall(r"'(\w+)'", text) or ["evaluated", "not_evaluated"])
    return found


def test_whatever_is_logged_has_a_name():
    named = [name for names in events().values() for name in names]
    assert None not in named
    assert len(set(named)) > 10
    page = (ROOT / "deploy/README.md").read_text("utf-8")
    rows = page.partition("| event | what happened |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", rows)) - {"trace"} == set(named)
