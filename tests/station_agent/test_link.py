import shutil
import ssl
import subprocess
import time

import pytest

from deploy.local.broker import free_port, mosquitto_program
from station_agent.config import Tls
from station_agent.link import tls_context
from tests.servers import absent, require_mosquitto
from tests.station_agent.conftest import Station, wait_until
from tests.station_agent.picarro_text import text


def openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority, a broker's and a station's certificate from it, and another authority."""
    if shutil.which("openssl") is None:
        absent("openssl is not installed: install your system's package openssl")
    folder = tmp_path_factory.mktemp("certificates")
    folder.chmod(0o755)
    for name in ("ca", "other"):
        subject = ("-subj", f"/CN={name}", "-days", "2", "-keyout", f"{name}.key", "-out", f"{name}.pem")
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")  # newer Pythons check it
        openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", *usage, *subject)
    (folder / "names").write_text(
        "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\nauthorityKeyIdentifier=keyid\n"
    )
    for name in ("broker", "lin-an"):
        keys = ("-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", *keys)
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "names", "-days", "2")
        openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signed)
    for key in folder.glob("*.key"):
        key.chmod(0o600)
    return folder


@pytest.fixture
def tls_port(certificates, tmp_path):
    """Mosquitto that wants TLS and a certificate of the station."""
    require_mosquitto()
    port = free_port()
    configuration = tmp_path / "mosquitto.conf"
    configuration.write_text(
        f"listener {port} 127.0.0.1\ncafile {certificates}/ca.pem\ncertfile {certificates}/broker.pem\n"
        f"keyfile {certificates}/broker.key\nrequire_certificate true\nallow_anonymous true\nuser root\n"
    )
    process = subprocess.Popen([mosquitto_program(), "-c", configuration], stderr=subprocess.PIPE)
    try:
        time.sleep(0.5)
        yield port
    finally:
        process.kill()
        process.communicate()


def table(certificates, **names):
    return "[broker.tls]\n" + "".join(f'{key} = "{certificates}/{name}"\n' for key, name in names.items())


def test_the_agent_connects_with_its_certificate(tmp_path, certificates, tls_port):
    station = Station(tmp_path / "station", "127.0.0.1", tls_port)
    (station.data / "a.dat").write_text(text(0, 5))
    station.configure(broker=table(certificates, ca="ca.pem", cert="lin-an.pem", key="lin-an.key"))
    agent = station.start("run")
    try:
        agent.stderr.readline()
        line = agent.stderr.readline()
        assert line == f"INFO connected to 127.0.0.1:{tls_port}\n"
    finally:
        station.stop()


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ({"ca": "other.pem", "cert": "lin-an.pem", "key": "lin-an.key"}, "certificate verify failed"),
        ({"ca": "ca.pem", "cert": "lin-an.pem", "key": "ca.key"}, "key values mismatch"),
    ],
)
def test_a_broker_or_key_that_does_not_fit_is_refused_in_a_sentence(tmp_path, certificates, tls_port, names, reason):
    station = Station(tmp_path / "station", "127.0.0.1", tls_port)
    station.configure(broker=table(certificates, **names))
    agent = station.start("run")
    try:
        agent.stderr.readline()
        line = agent.stderr.readline()
        assert line.startswith(f"WARNING no connection to 127.0.0.1:{tls_port}: ")
        assert reason in line
        assert "next attempt in" in line
        wait_until(lambda: agent.poll() is None)
    finally:
        station.stop()


def test_tls_is_new_enough_and_checks_the_name(certificates):
    context = tls_context(Tls(ca=certificates / "ca.pem", cert=None, key=None))
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
