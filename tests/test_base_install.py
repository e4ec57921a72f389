"""The base install: the agent, paho-mqtt, and nothing else."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from tests.servers import absent

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Wheel of this checkout, built with what the environment has."""
    if importlib.util.find_spec("hatchling") is None:
        absent("the build backend is not installed: `make env` brings it")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", folder, ROOT], check=True, timeout=120)
    (path,) = folder.glob("skyledger-*.whl")
    return path


def test_wheel_requires_paho_mqtt_alone_unless_extras_are_asked_for(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(archive.read(name).decode())
    plain = [entry for entry in metadata.get_all("Requires-Dist") if "extra ==" not in entry]
    assert [re.match(r"[\w-]+", entry)[0] for entry in plain] == ["paho-mqtt"]
    assert {"server", "science", "local", "notebooks", "dev"} <= set(metadata.get_all("Provides-Extra"))


def test_wheel_carries_everything_in_the_packages_and_nothing_beside_them(wheel):
    packages = ("station_agent", "ingest", "qc", "inversion", "deploy")
    command = ["git", "-c", f"safe.directory={ROOT}", "-C", ROOT, "ls-files", *packages]
    listed = subprocess.run(command, capture_output=True, text=True, check=False) if shutil.which("git") else None
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert {name.partition("/")[0] for name in names} == set(packages)
    assert any(re.fullmatch(r"ingest/migrations/.+\.sql", name) for name in names)
    if listed is not None and listed.returncode == 0:
        present = {name for name in listed.stdout.split() if (ROOT / name).exists()}
        assert present <= names


def test_empty_environment_gets_paho_mqtt_and_nothing_else(wheel, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True, timeout=120)
    python = tmp_path / "env/bin/python"
    before = installed(python)
    done = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", wheel], capture_output=True, text=True, check=False, timeout=240
    )
    if done.returncode != 0:
        absent(f"paho-mqtt could not be had from the registry: {done.stderr.strip().splitlines()[-1]}")
    assert installed(python) - before == {"skyledger", "paho-mqtt"}
    agent = subprocess.run(
        [tmp_path / "env/bin/station-agent", "--help"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert agent.returncode == 0, agent.stderr
    server = subprocess.run(
        [tmp_path / "env/bin/skyledger", "up"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert server.returncode == 1
    assert server.stderr.count("\n") == 1
    assert "pip install 'skyledger[" in server.stderr


def installed(python):
    """Names of the distributions in an environment."""
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    command = [python, "-m", "pip", "list", "--format", "freeze"]
    text = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    return {line.partition("==")[0] for line in text.splitlines()}
