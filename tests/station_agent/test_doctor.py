import base64
import json
import shutil
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.local.broker import free_port, mosquitto_program
from station_agent import words
from station_agent.__main__ import main
from station_agent.config import read_config
from station_agent.doctor import TAIL, examine
from station_agent.errors import ConfigError
from station_agent.health import ClockState
from station_agent.spool import Spool
from station_agent.validity import validity
from tests.servers import absent, require_mosquitto
from tests.station_agent.conftest import Station, wait_until
from tests.station_agent.fake_instrument import FakeStream, PtyEnd, TcpEnd
from tests.station_agent.instrument_text import LICOR_HEAD, licor
from tests.station_agent.picarro_text import START, text

NAMES = "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\nauthorityKeyIdentifier=keyid\n"


def openssl(folder, *arguments):
    done = subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout


def sign(folder, name, *, days="30", authority="ca", names=NAMES):
    """Make a key and a certificate of an authority."""
    (folder / "names").write_text(names)
    keys = ("-keyout", f"{name}.key", "-out", f"{name}.csr")
    openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", *keys)
    signed = ("-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-CAcreateserial", "-extfile", "names")
    openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", "-days", days, *signed)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Authorities, and certificates good and bad."""
    if shutil.which("openssl") is None:
        absent("openssl is not installed: install your system's package openssl")
    folder = tmp_path_factory.mktemp("certificates")
    folder.chmod(0o755)
    for name in ("ca", "other"):
        subject = ("-subj", f"/CN={name}", "-days", "30", "-keyout", f"{name}.key", "-out", f"{name}.pem")
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", *usage, *subject)
    sign(folder, "broker")
    sign(folder, "elsewhere", names=NAMES.replace("IP:127.0.0.1,DNS:localhost", "DNS:elsewhere"))
    sign(folder, "lin-an")
    sign(folder, "expired", days="-1")
    for key in folder.glob("*.key"):
        key.chmod(0o600)
    return folder


@pytest.fixture
def serve(certificates, tmp_path):
    """Start a Mosquitto with TLS; return its port."""
    require_mosquitto()
    processes = []

    def serve(certificate="broker", more=""):
        port = free_port()
        configuration = tmp_path / "mosquitto.conf"
        configuration.write_text(
            f"listener {port} 127.0.0.1\ncafile {certificates}/ca.pem\ncertfile {certificates}/{certificate}.pem\n"
            f"keyfile {certificates}/{certificate}.key\nrequire_certificate true\nallow_anonymous true\n"
            f"user root\n{more}"
        )
        process = subprocess.Popen([mosquitto_program(), "-c", configuration], stderr=subprocess.DEVNULL)
        processes.append(process)
        time.sleep(0.5)
        assert process.poll() is None
        return port

    yield serve
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def well(certificates, serve, tmp_path, monkeypatch):
    """A station where everything is well, whatever this machine's clock."""
    monkeypatch.setattr("station_agent.doctor.clock_state", lambda: ClockState(True, 0.00012, "adjtimex"))

    def well(port=None, *, host="127.0.0.1", broker="", extra="", **names):
        station = Station(tmp_path / "station", host, serve() if port is None else port)
        (station.data / "DataLog_1.dat").write_text(text(0, 50))
        paths = {"ca": "ca.pem", "cert": "lin-an.pem", "key": "lin-an.key"} | names
        tls = "".join(f'{key} = "{certificates}/{name}"\n' for key, name in paths.items())
        station.configure(broker=f"{broker}\n[broker.tls]\n{tls}", extra=extra)
        return station

    return well


def said(station, language="en"):
    """Return the texts of the lines by whether they are well."""
    lines = list(examine(station.file, language=language))
    return [line.text for line in lines if line.ok], [line.text for line in lines if not line.ok]


def test_all_is_well(well):
    station = well()
    good, bad = said(station)
    assert bad == []
    assert [line.partition(": ")[0].removeprefix("ok      ") for line in good] == [
        "configuration",
        "permissions",
        "spool",
        "disk",
        "agent",
        "instrument g2301",
        "instrument g2301, live reading",
        "own certificate",
        "broker, name",
        "broker, port",
        "broker, TLS",
        "broker's certificate",
        "broker, MQTT",
        "broker, acknowledgements",
        "clock",
    ]
    assert "co2 420.48" in good[6]
    assert "29 days left" in good[7]
    assert "29 days left" in good[11]
    assert main(["doctor", "--config", str(station.file)]) == 0


def test_it_looks_while_the_agent_runs(well, ended):
    station = well()
    agent = station.start("run")
    wait_until(lambda: (station.folder / "spool.db").exists() and station.status()["running"])
    good, bad = said(station)
    assert (bad, any(f"running, process {agent.pid}" in line for line in good)) == ([], True)
    code, complaint = ended(agent)
    assert (code, "next attempt" in complaint) == (0, False)


def test_in_chinese_by_locale(well, monkeypatch):
    station = well()
    (station.data / "DataLog_1.dat").unlink()
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    code, out, _ = station.call("doctor")
    assert code == 1
    assert f"不正常  仪器 g2301: 没有文件匹配 {station.data}/*.dat\n        处理办法: 检查 instrument.path" in out
    assert "正常    服务器确认: skyledger/v1/lin-an/ack 已获准" in out
    code, out, _ = station.call("doctor", "--lang", "en")
    assert "not ok  instrument g2301: no file matches" in out


def test_each_sentence_has_both_languages_with_the_same_values():
    for key, pair in words.WORDS.items():
        fields = [sorted(part.partition("}")[0].partition(":")[0] for part in text.split("{")[1:]) for text in pair]
        assert fields[0] == fields[1], key


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_MESSAGES": "C"}, "en"),
        ({"LC_ALL": "zh_TW", "LC_MESSAGES": "C", "LANG": "C"}, "zh"),
        ({"LC_ALL": "", "LANG": "zh"}, "zh"),
    ],
)
def test_locale(environment, language):
    assert words.language(environment) == language


# --- each line provoked ----------------------------------------------------------------------


def only(station, start, *parts):
    """Check that one thing alone is not well, what is said of it, and that it says what to do."""
    _, bad = said(station)
    assert len(bad) == 1, bad
    assert bad[0].startswith(f"not ok  {start}: "), bad
    assert all(part in bad[0] for part in parts), bad
    assert "\n        what to do: " in bad[0]


def test_configuration(well):
    station = well()
    station.file.write_text("stations = 3\nbroker = 3\n")
    _, bad = said(station)
    assert len(bad) == 5
    assert "stations: unknown key, did you mean 'station'?" in bad[0]


def test_a_password_in_a_file_open_to_everybody(well):
    station = well(broker='username = "a"\npassword = "b"')
    station.file.chmod(0o644)
    only(station, "configuration", "is open to every user (mode 0644)", f"chmod 600 {station.file}")


def test_permissions(well, monkeypatch):
    station = well()
    monkeypatch.setattr("pathlib.Path.open", _forbidding("lin-an.key"))
    only(station, "permissions", "lin-an.key cannot be read by this user (Permission denied)")


def _forbidding(name):
    """Return an `open` that one file is closed to; root may read everything, so it cannot be had from the system."""
    real = Path.open

    def opened(self, *arguments, **options):
        if self.name == name:
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, *arguments, **options)

    return opened


def test_spool_folder(well):
    station = well()
    text = station.file.read_text().replace("[spool]", '[spool]\npath = "none/spool.db"')
    station.file.write_text(text)
    _, bad = said(station)
    assert bad[0].startswith("not ok  spool: ")
    assert "No such file or directory" in bad[0]


def test_disk(well):
    station = well()
    station.file.write_text(station.file.read_text().replace("quota_mb = 100", "quota_mb = 1000000"))
    only(station, "disk", "the spool may grow by 1,000,000 MB")


def test_no_file(well):
    station = well()
    (station.data / "DataLog_1.dat").unlink()
    only(station, "instrument g2301", "no file matches")


def test_no_reading(well):
    station = well()
    (station.data / "DataLog_1.dat").write_text(text(0, 1) + "rubbish\n" * 3)
    (station.data / "DataLog_2.dat").write_text(text(0, 0) + "rubbish\n" * 3)
    only(station, "instrument g2301, live reading", "the last 4 lines of DataLog_2.dat hold no reading: ")


def test_the_end_of_a_long_file_is_read(well):
    station = well()
    (station.data / "DataLog_1.dat").write_text(text(0, 3000))
    good, bad = said(station)
    assert (bad, station.data.joinpath("DataLog_1.dat").stat().st_size > 2 * TAIL) == ([], True)
    last = datetime.fromtimestamp(START + 2999, UTC)
    assert f"{last:%Y-%m-%d %H:%M:%S UTC}" in good[6]


def test_no_such_name(well):
    only(well(1, host="no-such-host.invalid"), "broker, name", "no-such-host.invalid is not found")


def test_nobody_listens(well):
    only(well(free_port()), "broker, port", "Connection refused")


def test_without_tls(well, mosquitto):
    station = well(mosquitto.port)
    station.configure()
    good, bad = said(station)
    assert bad == []  # nobody is on the way inside one machine
    assert any("switched off" in line for line in good)


@pytest.mark.parametrize(
    ("certificate", "names", "reason"),
    [
        ("broker", {"ca": "other.pem"}, "self"),
        ("elsewhere", {}, "IP address mismatch, certificate is not valid for '127.0.0.1'"),
        ("expired", {}, "certificate has expired"),
        ("broker", {"key": "ca.key"}, "KEY_VALUES_MISMATCH"),
    ],
)
def test_tls(well, serve, certificate, names, reason):
    only(well(serve(certificate), **names), "broker, TLS", "" if reason == "self" else reason)


def test_own_certificate_expired(well):
    _, bad = said(well(cert="expired.pem", key="expired.key"))
    assert bad[0].startswith("not ok  own certificate: was valid until ")
    assert any(line.startswith("not ok  broker, MQTT") for line in bad[1:])


def test_mqtt_refused(well, serve, tmp_path):
    (tmp_path / "passwords").write_text("")
    port = serve(more=f"password_file {tmp_path}/passwords\nallow_anonymous false\n")
    only(well(port), "broker, MQTT", "Not authorized")


def test_acknowledgements_refused(well, serve, tmp_path):
    plugin = next(Path("/usr/lib").glob("**/mosquitto_dynamic_security.so"), None)
    if plugin is None:
        absent("Mosquitto's dynamic security plugin is not installed: it comes with the package mosquitto")
    access = {"publishClientSend": True, "publishClientReceive": True, "subscribe": False, "unsubscribe": True}
    rules = tmp_path / "rules.json"
    rules.write_text(json.dumps({"defaultACLAccess": access, "clients": [], "groups": [], "roles": []}))
    port = serve(more=f"plugin {plugin}\nplugin_opt_config_file {rules}\n")
    only(well(port), "broker, acknowledgements", "skyledger/v1/lin-an/ack is refused")


@pytest.mark.parametrize(
    ("state", "part"),
    [
        (ClockState(False, 0.0, "adjtimex"), "not synchronised"),
        (ClockState(None, None, "unknown"), "the system does not say"),
    ],
)
def test_clock(well, monkeypatch, state, part):
    station = well()
    monkeypatch.setattr("station_agent.doctor.clock_state", lambda: state)
    only(station, "clock", part)


# --- dates of certificates -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ca", "broker", "expired"])
def test_dates_are_those_openssl_tells(certificates, name):
    told = openssl(certificates, "x509", "-in", f"{name}.pem", "-noout", "-startdate", "-enddate")
    dates = [line.partition("=")[2] for line in told.splitlines()]
    expected = tuple(datetime.strptime(date, "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC) for date in dates)
    assert validity(certificates / f"{name}.pem") == expected


def test_dates_beyond_2049_are_of_another_type(certificates, tmp_path):
    shutil.copytree(certificates, tmp_path / "c")
    sign(tmp_path / "c", "long", days="20000")
    assert validity(tmp_path / "c/long.pem")[1].year >= 2070


@pytest.mark.parametrize("content", [b"", b"\xff\0", b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"])
def test_no_certificate(tmp_path, content):
    (tmp_path / "x.pem").write_bytes(content)
    with pytest.raises(ConfigError, match="is no certificate in PEM"):
        validity(tmp_path / "x.pem")


def test_a_damaged_certificate_is_never_more_than_no_certificate(certificates, tmp_path):
    lines = (certificates / "ca.pem").read_text().splitlines()
    der = base64.b64decode("".join(lines[1:-1]))
    path = tmp_path / "x.pem"
    for cut in range(0, len(der), 7):
        for damaged in (der[:cut], der[:cut] + bytes([der[cut] ^ 0xFF]) + der[cut + 1 :]):
            text = base64.encodebytes(damaged).decode()
            path.write_text(f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n")
            try:
                validity(path)
            except ConfigError:
                continue


# --- instruments read live -------------------------------------------------------------------


def live(station, address):
    """Let the station read an LI-COR over a connection."""
    text = station.file.read_text().partition("[[instrument]]")[0]
    station.file.write_text(f'{text}[[instrument]]\nname = "li"\ndriver = "licor"\npoll = 0.1\n{address}\n')


@pytest.mark.parametrize("make", [lambda _folder: TcpEnd(), PtyEnd])
def test_a_live_instrument_that_answers(well, make, tmp_path):
    station, end = well(), make(tmp_path)
    with FakeStream(end, [licor(k) for k in range(5)], preamble=("\n".join(LICOR_HEAD) + "\n").encode()):
        live(station, end.address)
        good, bad = said(station)
    assert bad == []
    assert [line for line in good if line.startswith("ok      instrument li, live reading: 2023-11-14 22:13:2")]


def test_a_live_instrument_that_says_nothing_it_can_read(well, monkeypatch):
    monkeypatch.setattr("station_agent.doctor.LIVE_S", 1.0)
    station, end = well(), TcpEnd()
    with FakeStream(end, ["hello"] * 20):
        live(station, end.address)
        only(station, "instrument li, live reading", "nothing that can be read came", "look at the cable")


def test_no_live_instrument_at_the_address(well, monkeypatch):
    monkeypatch.setattr("station_agent.doctor.LIVE_S", 1.0)
    station = well()
    live(station, f'tcp = "127.0.0.1:{free_port()}"')
    only(station, "instrument li, live reading", "Connection refused", "look at the cable")


def test_a_live_instrument_is_left_to_the_agent_that_reads_it(well):
    station, end = well(), TcpEnd()
    with FakeStream(end, [], preamble=b"") as fake:
        live(station, end.address)
        with Spool(read_config(station.file).spool.path, station="lin-an"):
            good, bad = said(station)
        assert fake.connections == 0
    assert bad == []
    assert [line for line in good if "the running agent (process" in line]
