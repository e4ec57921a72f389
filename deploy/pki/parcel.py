"""What a technician carries to a station: certificate, configuration, and the lines to type."""

from __future__ import annotations

import json
import re
from pathlib import Path
from string import Template
from typing import Final

from deploy.errors import DeployError
from deploy.pki.authority import Authority, Kind

PORT: Final = 8883
SIMULATED: Final = "simulated"
"""The driver of an instrument that does not exist: it reads no file."""
_AGENT: Final = Template("""\
# $name: installed as /etc/station-agent/agent.toml
station = "$name"

[broker]
host = $host
port = $port

[broker.tls]
ca = "/etc/station-agent/ca.crt"
cert = "/etc/station-agent/$name.crt"
key = "/etc/station-agent/$name.key"

[spool]
path = "/var/lib/station-agent/spool.db"

# The instrument: the path as it is on the station's computer.
[[instrument]]
name = $driver
driver = $driver
$source
""")
_INSTALL: Final = Template("""\
Station $name. Type as root, in this folder, `sh install.sh`, or its lines:

    id -u station-agent || useradd --system --home-dir /var/lib/station-agent --shell /usr/sbin/nologin station-agent
    install -d -m 0750 -o station-agent -g station-agent /etc/station-agent /var/lib/station-agent
    install -m 0640 -o station-agent -g station-agent agent.toml ca.crt $name.crt /etc/station-agent/
    $key
    python3 -m venv /opt/skyledger
    /opt/skyledger/bin/pip install skyledger
    /opt/skyledger/bin/station-agent check --config /etc/station-agent/agent.toml
    /opt/skyledger/bin/station-agent doctor --config /etc/station-agent/agent.toml || true
    cp station-agent.service /etc/systemd/system/
    systemctl enable --now station-agent
    /opt/skyledger/bin/station-agent status --config /etc/station-agent/agent.toml

`check` names what is wrong in agent.toml (the instrument's path, most often); `doctor` looks at everything else.
The certificate is good until $ends. The key is this station's alone: if it is lost or copied, say so at once,
and the certificate will be revoked. Wipe this folder from the carrier when you are done.
""")
_KEY: Final = "install -m 0600 -o station-agent -g station-agent $name.key /etc/station-agent/"
_DASK: Final = Path(__file__).parents[1] / "dask" / "tls.yaml"
_UNIT: Final = Path(__file__).parents[1] / "systemd" / "station-agent.service"


def write(
    authority: Authority,
    name: str,
    *,
    broker: str,
    driver: str,
    path: str,
    days: int,
    folder: Path,
    request: Path | None = None,
) -> Path:
    """Write a station's folder and return it.

    Parameters
    ----------
    authority : Authority
    name : str
        The station's.
    broker : str
        ``name`` or ``name:port``.
    driver, path : str
        Of its first instrument.
    days : int
        How long its certificate is good.
    folder : path
        To write; it must not be there, or be empty.
    request : path, optional
        Certificate signing request, where the key was made at the station.

    Raises
    ------
    DeployError
        Where the folder holds something, the broker's port is none, or the authority refuses the name.
    """
    host, colon, port = broker.rpartition(":") if broker.rpartition(":")[2].isdigit() else (broker, "", str(PORT))
    if not host or (colon and not 0 < int(port) < 65_536):
        raise DeployError(f"--broker {broker!r}: expected a name, or a name and port as in mqtt.example.org:8883")
    if folder.exists() and any(folder.iterdir()):
        raise DeployError(f"{folder} is there and not empty: give another with --to")
    record = authority.issue(name, Kind.STATION, folder=folder, days=days, request=request)
    folder.chmod(0o700)
    (folder / "ca.crt").write_bytes(authority.certificate.read_bytes())
    (folder / "station-agent.service").write_bytes(_UNIT.read_bytes())
    source = "interval = 1.0" if driver == SIMULATED else f"path = {json.dumps(path)}"
    quoted = {"host": json.dumps(host), "driver": json.dumps(driver), "source": source}
    text = _AGENT.substitute(name=name, port=port, **quoted)
    (folder / "agent.toml").write_text(text, encoding="utf-8")
    key = Template(_KEY).substitute(name=name) if request is None else "# the key was made here and is in its place"
    install = _INSTALL.substitute(name=name, ends=record.ends[:10], key=key)
    (folder / "INSTALL.txt").write_text(install, encoding="utf-8")
    lines = re.findall(r"^    (.*)$", install, re.MULTILINE)
    (folder / "install.sh").write_text("\n".join(("set -e", *lines, "")), encoding="utf-8")
    return folder


def dask_configuration(name: str) -> str:
    """Return Dask's configuration for a certificate of that name in /etc/skyledger-dask."""
    return _DASK.read_text(encoding="utf-8").replace("dask.crt", f"{name}.crt").replace("dask.key", f"{name}.key")
