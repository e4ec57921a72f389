"""Units, users and configurations of the server: no fault, little exposure, no secret where others see it."""

import re
import shlex
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from deploy.cli import app
from deploy.pki import Authority, Kind
from tests.servers import absent

FOLDER = Path(__file__).parents[2] / "deploy/systemd"
SERVICES = sorted(FOLDER.glob("skyledger-*.service"))
TIMERS = sorted(FOLDER.glob("skyledger-*.timer"))
EXPOSURE = 15
"""Of 100: systemd-analyze calls up to 20 safe."""


def starts(unit):
    (line,) = re.findall(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE)
    return shlex.split(line)


@pytest.fixture(scope="module")
def _analyze():
    if shutil.which("systemd-analyze") is None:
        absent("systemd-analyze is not installed: install your system's package systemd")


@pytest.mark.usefixtures("_analyze")
@pytest.mark.parametrize("unit", [*SERVICES, *TIMERS], ids=lambda unit: unit.name)
def test_systemd_finds_no_fault_and_little_exposure(tmp_path, unit):
    program = tmp_path / "skyledger"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for one in (*SERVICES, *TIMERS):
        (tmp_path / one.name).write_text(one.read_text().replace("/opt/skyledger/bin/skyledger", str(program)))
    place = tmp_path / unit.name
    if "@" in unit.name:
        place = place.rename(tmp_path / unit.name.replace("@", "@ingest-1"))
    done = subprocess.run(["systemd-analyze", "verify", place], capture_output=True, text=True, check=False)
    ours = [line for line in (done.stdout + done.stderr).splitlines() if "skyledger" in line]
    assert (done.returncode, ours) == (0, [])
    if unit.suffix == ".service":
        command = ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE}", place]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout.splitlines()[-1:]


def test_every_timer_has_its_service_and_its_place_at_boot():
    assert len(TIMERS) == 4
    for timer in TIMERS:
        assert timer.with_suffix(".service") in SERVICES
        assert "WantedBy=timers.target" in timer.read_text()
        assert "Type=oneshot" in timer.with_suffix(".service").read_text()


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_what_a_unit_starts_is_a_command_of_ours_with_options_it_has(unit):
    program, *words = starts(unit)
    assert program == "/opt/skyledger/bin/skyledger"
    node = typer.main.get_command(app)
    while hasattr(node, "commands"):
        node = node.commands[words.pop(0)]
    known = {option for parameter in node.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_no_secret_stands_on_a_command_line(unit):
    line = " ".join(starts(unit))
    assert not re.search(r"--dsn|--password|postgresql://", line)
    assert not re.search(r"^Environment=.*(postgresql://|password)", unit.read_text(), re.MULTILINE)
    if "--key" in line:
        assert "--key ${CREDENTIALS_DIRECTORY}/" in line


def test_users_are_made_for_every_unit_that_names_one():
    made = re.findall(r"^u (\S+)", (FOLDER / "skyledger.sysusers").read_text(), re.MULTILINE)
    named = {user for unit in SERVICES for user in re.findall(r"^User=(.*)$", unit.read_text(), re.MULTILINE)}
    assert named - {"root", "postgres"} == set(made)  # Debian makes these


def test_the_broker_opens_one_port_and_bounds_what_it_keeps():
    text = (FOLDER.parent / "mosquitto/mosquitto.conf").read_text()
    settings = dict(re.findall(r"^(\w+) (.+)$", text, re.MULTILINE))
    assert text.count("\nlistener ") == 1
    assert settings["listener"] == "8883"
    assert (settings["allow_anonymous"], settings["require_certificate"]) == ("false", "true")
    assert 0 < int(settings["max_packet_size"]) <= 2**20
    assert int(settings["max_queued_messages"]) > 0
    assert int(settings["max_queued_bytes"]) > 0


def test_what_ends_soon_is_named_and_fails(tmp_path):
    authority = Authority.create(tmp_path / "pki", "tests")

    def listed(days):
        done = CliRunner().invoke(app, ["pki", "list", "--expiring", str(days), "--pki", str(tmp_path / "pki")])
        return done.exit_code, done.output, str(done.exception or "")

    authority.issue("lin-an", Kind.STATION, folder=tmp_path / "out", days=30)
    authority.issue("wuhan", Kind.STATION, folder=tmp_path / "out", days=90)
    authority.issue("gone", Kind.STATION, folder=tmp_path / "out", days=10)
    authority.revoke("gone", "closed")
    assert listed(29) == (0, "", "")
    code, said, error = listed(60)
    assert code == 1
    assert [line.split()[0] for line in said.splitlines()] == ["lin-an"]
    assert "`skyledger pki renew NAME` for lin-an" in error
    authority.renew("lin-an", folder=tmp_path / "new", days=400)
    assert listed(60) == (0, "", "")
    late = datetime.now(UTC) + timedelta(days=120)
    assert [record.name for record in authority.ending(late)] == ["wuhan"]


def test_the_files_come_with_the_package_and_go_where_they_are_asked(tmp_path):
    runner = CliRunner()
    assert runner.invoke(app, ["files", str(tmp_path / "to")]).exit_code == 0
    written = {str(path.relative_to(tmp_path / "to")) for path in (tmp_path / "to").rglob("*") if path.is_file()}
    expected = {"compose.yaml", "README.md", "SECURITY.md", "mosquitto/mosquitto.conf", "postgresql/skyledger.conf"}
    expected |= {f"systemd/{unit.name}" for unit in (*SERVICES, *TIMERS)} | {"dask/cluster.yaml", "dask/tls.yaml"}
    assert expected <= written
    assert not [name for name in written if name.endswith(".pyc")]
    again = runner.invoke(app, ["files", str(tmp_path / "to")])
    assert "is there already: give a folder that is not" in str(again.exception)
