"""The supervisor, its owner, and the commands `skyledger up` and `skyledger down`."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from deploy.errors import ServerError
from deploy.local.broker import answers
from deploy.local.service import Service, dumps
from deploy.local.stack import Stack, down, remove, running
from tests.deploy.processes import alive, all_gone, descendants, eventually
from tests.servers import throwaway_folder

SKYLEDGER = [sys.executable, "-P", "-m", "deploy"]


@pytest.fixture
def folder():
    with throwaway_folder() as path:
        yield path


def writer(path, text="{dsn} {broker} {host} {port}", *, forever=False, code=0):
    """Command that writes what it was told, then ends or stays."""
    then = "time.sleep(600)" if forever else f"sys.exit({code})"
    script = f"import sys, time; open(sys.argv[1], 'a').write(sys.argv[2] + '\\n'); {then}"
    return (sys.executable, "-c", script, str(path), text)


def told(folder):
    path = folder / "told"
    return path.read_text() if path.exists() else ""


def query(dsn, statement):
    with psycopg.connect(dsn) as conn:
        return conn.execute(statement).fetchone()


def test_holds_a_database_and_a_broker_while_it_is_open(folder):
    with Stack(folder, durable=False) as stack:
        assert query(stack.dsn, "SELECT 1") == (1,)
        assert answers(stack.port)
        assert running(folder) == stack.state
        below = descendants(stack.state.pid)
        assert (folder / "stack.json").stat().st_mode & 0o077 == 0
    assert not any(alive(pid) for pid in below)
    assert running(folder) is None
    assert not answers(stack.port)


def test_keeps_data_and_addresses_for_the_next_time(folder):
    with Stack(folder) as stack:
        with psycopg.connect(stack.dsn) as conn:
            conn.execute("CREATE TABLE kept AS SELECT 7 AS value")
        first = stack.state
    with Stack(folder) as stack:
        assert query(stack.dsn, "SELECT value FROM kept") == (7,)
        assert (stack.dsn, stack.address) == (first.dsn, first.address)


def test_second_stack_on_a_folder_is_refused_in_a_sentence(folder):
    with Stack(folder, durable=False) as stack:
        with pytest.raises(ServerError, match=rf"already runs on {folder} \(pid {stack.state.pid}\).*skyledger down"):
            Stack(folder).start()
        assert query(stack.dsn, "SELECT 1") == (1,)


def test_services_run_in_order_and_are_told_where_everything_is(folder):
    services = [
        Service("first", writer(folder / "told", "first {dsn}"), once=True),
        Service("second", writer(folder / "told", "second {broker} {host} {port} {data_dir}", forever=True)),
    ]
    with Stack(folder, services=services, durable=False) as stack:
        expected = f"first {stack.dsn}\nsecond {stack.address} {stack.host} {stack.port} {folder}\n"
        assert eventually(lambda: told(folder) == expected)
        below = descendants(stack.state.pid)
    assert not any(alive(pid) for pid in below)


def test_failing_step_stops_everything_with_its_log(folder):
    step = Service("migrate", (sys.executable, "-c", "import sys; sys.exit('no such table')"), once=True)
    with pytest.raises(ServerError, match=r"(?s)migrate ended with 1; its log .*migrate.log ends:.*no such table"):
        Stack(folder, services=[step], durable=False).start()
    assert running(folder) is None


def test_what_ends_is_started_again(folder):
    service = Service("worker", writer(folder / "told", "again"))
    with Stack(folder, services=[service], durable=False) as stack:
        assert eventually(lambda: told(folder).count("again") >= 3)
        dsn, port = stack.dsn, stack.port
        for pid in descendants(stack.state.pid):
            if Path(f"/proc/{pid}/comm").read_text().strip() in {"postgres", "mosquitto"}:
                os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: answers(port))
        assert eventually(lambda: is_up(dsn))
        log = (folder / "stack.log").read_text()
    assert "Postgres has ended; starting it again" in log
    assert "worker ended with 0; starting it again" in log


def is_up(dsn):
    try:
        return query(dsn, "SELECT 1") == (1,)
    except psycopg.OperationalError:
        return False


OWNER = """
import json, multiprocessing, sys, time
from deploy.local.service import Service
from deploy.local.stack import Stack
stack = Stack(sys.argv[1], services=Service.loads(sys.argv[2]), durable=False).start()
# A forked child holds the owner's end of the pipe open.
multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,), daemon=True).start()
print(stack.state.pid, flush=True)
time.sleep(600)
"""


@contextmanager
def owned(folder, services):
    command = [sys.executable, "-c", OWNER, str(folder), dumps(services)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        try:
            yield owner, int(owner.stdout.readline())
        finally:
            left = descendants(owner.pid)
            owner.kill()
            for pid in left:
                if alive(pid):
                    os.kill(pid, signal.SIGKILL)


def test_killed_owner_leaves_nothing_running(folder):
    with owned(folder, [Service("worker", writer(folder / "told", forever=True))]) as (owner, supervisor):
        below = [supervisor, *descendants(supervisor)]
        assert len(below) > 4
        forked = [pid for pid in descendants(owner.pid) if pid not in below]
        assert len(forked) == 1
        owner.send_signal(signal.SIGKILL)
        assert all_gone(below)
        assert alive(forked[0])
        os.kill(forked[0], signal.SIGKILL)
    assert "database system is shut down" in (folder / "postgres.log").read_text()


def test_killed_supervisor_leaves_nothing_running_and_the_folder_usable_at_once(folder):
    with owned(folder, [Service("worker", writer(folder / "told", forever=True))]) as (_, supervisor):
        below = descendants(supervisor)
        before = running(folder)
        os.kill(supervisor, signal.SIGKILL)
        with Stack(folder, durable=False) as stack:
            assert (stack.dsn, stack.port) == (before.dsn, before.port)
            assert query(stack.dsn, "SELECT 1") == (1,)
        assert all_gone(below)


def test_remove_deletes_a_stopped_stack_only(folder):
    data = folder / "data"
    with Stack(data, durable=False):
        with pytest.raises(ServerError, match="down"):
            remove(data)
        places = [(data / name).resolve() for name in ("postgres", "broker")]
    remove(data)
    assert not any(path.exists() for path in [data, *places])


@contextmanager
def foreground(*arguments):
    with subprocess.Popen(
        [*SKYLEDGER, "up", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as command:
        try:
            yield command
        finally:
            command.terminate()


def read_until(command, text):
    seen = ""
    while text not in seen:
        line = command.stdout.readline()
        assert line, f"ended after: {seen}"
        seen += line
    return seen


def skyledger(*arguments):
    return subprocess.run([*SKYLEDGER, *arguments], capture_output=True, text=True, check=False, timeout=120)


def test_up_runs_until_ctrl_c(folder):
    with foreground("--data-dir", folder) as command:
        seen = read_until(command, "until Ctrl-C")
        state = running(folder)
        assert f"database  {state.dsn}\n" in seen
        assert f"broker    {state.address}\n" in seen
        below = [state.pid, *descendants(state.pid)]
        commands = [Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in below]
        assert any("-m deploy ingest run" in line for line in commands)
        assert any("-m deploy qc run" in line for line in commands)
        assert query(state.dsn, "SELECT count(*) FROM station") == (0,)
        command.send_signal(signal.SIGINT)
        assert "Stopping" in command.stdout.read()
        assert command.wait(30) == 0
    assert not any(alive(pid) for pid in below)


def test_down_stops_what_up_started_in_front_or_behind(folder):
    with foreground("--data-dir", folder) as command:
        read_until(command, "until Ctrl-C")
        twice = skyledger("up", "--data-dir", folder)
        assert twice.returncode == 1
        assert "already runs on" in twice.stderr
        assert twice.stderr.count("\n") == 1
        assert skyledger("down", "--data-dir", folder).stdout == f"Stopped the stack on {folder}.\n"
        assert "Stopped from elsewhere" in command.stdout.read()
        assert command.wait(30) == 0
    behind = skyledger("up", "--detach", "--data-dir", folder)
    assert behind.returncode == 0, behind.stderr
    state = running(folder)
    assert state.dsn in behind.stdout
    assert query(state.dsn, "SELECT 1") == (1,)
    below = [state.pid, *descendants(state.pid)]
    assert down(folder)
    assert not any(alive(pid) for pid in below)
    assert skyledger("down", "--data-dir", folder).stdout == f"No stack runs on {folder}.\n"


def test_killed_up_leaves_nothing_running(folder):
    with foreground("--data-dir", folder) as command:
        read_until(command, "until Ctrl-C")
        pid = running(folder).pid
        below = [pid, *descendants(pid)]
        command.kill()
        assert all_gone(below, seconds=30)


def test_data_dir_that_is_a_file_is_refused_in_a_sentence(folder):
    file = folder / "file"
    file.touch()
    done = skyledger("up", "--data-dir", file)
    assert (done.returncode, done.stderr) == (1, f"skyledger: {file} is not a folder: choose another --data-dir\n")


def test_without_its_extra_the_command_says_so_in_a_sentence():
    script = "import sys; sys.modules['typer'] = None; from deploy.__main__ import main; sys.exit(main())"
    done = subprocess.run([sys.executable, "-c", script, "up"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "typer, which is not installed: pip install 'skyledger[" in done.stderr


def test_state_file_is_json_that_names_the_addresses(folder):
    with Stack(folder, durable=False) as stack:
        assert json.loads((folder / "stack.json").read_text()) == {
            "pid": stack.state.pid,
            "dsn": stack.dsn,
            "host": "127.0.0.1",
            "port": stack.port,
        }
