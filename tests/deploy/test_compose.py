"""compose.yaml: to the schema of such files, to our own command line, and to what lies beside it."""

import re
import subprocess
from pathlib import Path

import pytest
import typer.main
import yaml

from deploy.cli import app
from tests.deploy.test_dask_files import checks

FOLDER = Path(__file__).parents[2] / "deploy"
FILE = FOLDER / "compose.yaml"
COMPOSE = yaml.safe_load(FILE.read_text())
SERVICES = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"].startswith("skyledger:")]
MADE = {"./secrets", "./pki"}
"""What its head tells the operator to make."""

__all__ = ["checks"]


def test_it_is_what_the_schema_takes(checks, tmp_path):
    command = [checks / "check-jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, FILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    broken = tmp_path / "broken.yaml"
    broken.write_text(FILE.read_text().replace("healthcheck:", "healtcheck:"))
    assert subprocess.run([*command, broken], capture_output=True, check=False).returncode == 1


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_restrained(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"[1-9]\d*:\d+", str(service["user"]))
    assert not service.get("privileged")
    assert service.get("network_mode") != "host"
    assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+(-pg17)?", service["image"]), "pinned by version"


def test_one_port_is_the_worlds():
    published = [str(port) for service in SERVICES.values() for port in service.get("ports", ())]
    assert [port for port in published if not port.startswith("127.0.0.1:")] == ["8883:8883"]
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert SERVICES["database"]["networks"] == ["inside"]


@pytest.mark.parametrize("name", [name for name in SERVICES if name not in {"migrate", "maintain"}])
def test_what_goes_on_has_a_healthcheck_or_says_why_not(name):
    check = SERVICES[name]["healthcheck"]
    if check.get("disable"):
        assert "# It ends where it cannot go on" in FILE.read_text()
    else:
        assert check["test"]


@pytest.mark.parametrize("name", OURS)
def test_its_commands_are_ours_with_options_they_have(name):
    words = list(SERVICES[name]["command"])
    node = typer.main.get_command(app)
    while hasattr(node, "commands"):
        node = node.commands[words.pop(0)]
    options = {option: parameter for parameter in node.params for option in parameter.opts}
    for word in words:
        option, _, value = word.partition("=")
        assert option in options, word
        assert bool(value) != bool(getattr(options[option], "is_flag", False)), word


def test_every_secret_is_a_file_and_every_one_is_used():
    given = COMPOSE["secrets"]
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", ())}
    assert used == set(given)
    assert all(set(value) == {"file"} for value in given.values())
    text = FILE.read_text()
    for path in re.findall(r"/run/secrets/([\w]+)", text):
        assert path in given, path
    assert not re.search(r"(?i)password:\s*\S", text.replace("PASSWORD__FILE", "").replace("PASSWORD_FILE", ""))


def addresses(node):
    """Every host:port in the files of Prometheus."""
    if isinstance(node, dict):
        return [one for key, value in node.items() for one in (value if key == "targets" else addresses(value))]
    return [one for value in node for one in addresses(value)] if isinstance(node, list) else []


def test_prometheus_asks_and_tells_services_there_are():
    settings = yaml.safe_load((FOLDER / "prometheus/prometheus.yml").read_text())
    found = set(addresses(settings))
    assert found == {"ingest:9464", "alertmanager:9093"}
    for address in found:
        name, _, port = address.partition(":")
        assert set(SERVICES[name]["networks"]) & set(SERVICES["prometheus"]["networks"])
        assert port in str(SERVICES[name])
    secrets = {f"/run/secrets/{secret}" for secret in SERVICES["alertmanager"]["secrets"]}
    routing = yaml.safe_load((FOLDER / "prometheus/alertmanager.yml").read_text())
    assert routing["global"]["smtp_auth_password_file"] in secrets
    assert routing["global"]["smtp_require_tls"] is True


def test_the_worker_is_asked_whether_it_does_its_work():
    (address,) = re.findall(r"http://127\.0\.0\.1:(\d+/\w+)", " ".join(SERVICES["ingest"]["healthcheck"]["test"]))
    assert address == "9464/readyz"
    assert "--metrics=0.0.0.0:9464" in SERVICES["ingest"]["command"]


def test_what_it_mounts_is_there_or_is_said_to_be_made():
    sources = [volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())]
    sources += [secret["file"] for secret in COMPOSE["secrets"].values()]
    for source in sources:
        if not source.startswith("."):
            assert source in COMPOSE["volumes"], source
        elif f"./{Path(source).parts[0]}" not in MADE:
            assert (FOLDER / source).exists(), source
    head = FILE.read_text().partition("\nname:")[0]
    for folder in ("secrets/ingest-1", "secrets/broker", "secrets/database"):
        assert f"--to {folder}" in head


def test_the_image_is_built_from_what_is_there():
    text = (FOLDER / "Containerfile").read_text()
    root = FOLDER.parent
    for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (root / source).exists(), source
    stages = set(re.findall(r"^FROM \S+:\d+\.\d+\.\d+\S* AS (\w+)$", text, re.MULTILINE))
    assert stages == {"build", "skyledger", "broker"}
    assert {service["build"]["target"] for service in SERVICES.values() if "build" in service} <= stages
    assert "--require-hashes" in text
    assert text.count("\nUSER ") == 2
