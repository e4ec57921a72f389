import shutil
import ssl

import pytest

from station_agent.config import Tls
from station_agent.link import tls_context
from tests.servers import absent, require_mosquitto
from tests.station_agent.conftest import Station, wait_until
from tests.station_agent.picarro_text import text
from tests.station_agent.tls import make_certificates, table, tls_broker


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority, a broker's and a station's certificate from it, and another authority."""
    if shutil.which("openssl") is None:
        absent("openssl is not installed: install your system's package openssl")
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder)
    return folder


@pytest.fixture
def tls_port(certificates, tmp_path):
    """Mosquitto that wants TLS and a certificate of the station."""
    require_mosquitto()
    with tls_broker(tmp_path, certificates) as (port, _):
        yield port


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
