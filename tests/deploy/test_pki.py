"""Certificates: what is given out, renewed, revoked, refused; and what a technician carries."""

import json
import stat
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from typer.testing import CliRunner

from deploy.cli import app
from deploy.errors import DeployError
from deploy.pki import Authority, Kind, State, access_rules, parcel
from station_agent import config
from station_agent.validity import validity


@pytest.fixture
def authority(tmp_path):
    return Authority.create(tmp_path / "pki", "Network of tests")


def certificate(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_a_station_gets_a_certificate_that_is_good_for_a_client_alone(authority, tmp_path):
    record = authority.issue("lin-an", Kind.STATION, folder=tmp_path / "out", days=30)
    own, root = certificate(tmp_path / "out/lin-an.crt"), certificate(authority.certificate)
    own.verify_directly_issued_by(root)
    assert own.subject.rfc4514_string() == "CN=lin-an"
    use = own.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert [one.dotted_string for one in use] == ["1.3.6.1.5.5.7.3.2"]
    assert not own.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    key = tmp_path / "out/lin-an.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE((authority.folder / "ca.key").stat().st_mode) == 0o600
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    assert private.public_key() == own.public_key()
    assert abs(own.not_valid_after_utc - datetime.now(UTC) - timedelta(days=30)) < timedelta(minutes=1)
    assert record.state(datetime.now(UTC)) is State.VALID
    assert record.state(datetime.now(UTC) + timedelta(days=31)) is State.EXPIRED
    # The agent's own reader of certificates agrees.
    assert validity(tmp_path / "out/lin-an.crt")[1] == own.not_valid_after_utc


def test_a_key_may_stay_where_it_was_made(authority, tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "somebody-else")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    path = tmp_path / "station.csr"
    path.write_bytes(request.public_bytes(serialization.Encoding.PEM))
    authority.issue("lin-an", Kind.STATION, folder=tmp_path / "out", days=30, request=path)
    own = certificate(tmp_path / "out/lin-an.crt")
    assert own.public_key() == key.public_key()
    assert own.subject.rfc4514_string() == "CN=lin-an"  # the request names somebody else: nobody is asked
    assert not (tmp_path / "out/lin-an.key").exists()
    path.write_text("none")
    with pytest.raises(DeployError, match="is no certificate signing request in PEM"):
        authority.issue("wuhan", Kind.STATION, folder=tmp_path / "out", days=30, request=path)
    large = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(name)
        .sign(rsa.generate_private_key(65537, 2048), hashes.SHA256())
    )
    path.write_bytes(large.public_bytes(serialization.Encoding.PEM))
    with pytest.raises(DeployError, match="signed by its own ECDSA key"):
        authority.issue("wuhan", Kind.STATION, folder=tmp_path / "out", days=30, request=path)


def test_names_that_are_refused(authority, tmp_path):
    out = tmp_path / "out"
    authority.issue("lin-an", Kind.STATION, folder=out, days=30)
    with pytest.raises(DeployError, match=r"lin-an has a certificate until .*: renew it, or revoke it first"):
        authority.issue("lin-an", Kind.STATION, folder=out, days=30)
    with pytest.raises(DeployError, match="lin-an is the name of a station already"):
        authority.issue("lin-an", Kind.WORKER, folder=out, days=30)
    for name in ("Lin'an", "+", "#", "a/b", "", "../a"):
        with pytest.raises(DeployError, match="is no name of a station: expected a-z"):
            authority.issue(name, Kind.STATION, folder=out, days=30)
    with pytest.raises(DeployError, match="holds an authority already"):
        Authority.create(authority.folder, "again")
    with pytest.raises(DeployError, match="holds no authority"):
        Authority(tmp_path / "nowhere")


def test_renewed_and_revoked(authority, tmp_path):
    first = authority.issue("lin-an", Kind.STATION, folder=tmp_path / "a", days=30)
    second = authority.renew("lin-an", folder=tmp_path / "b", days=60)
    assert (tmp_path / "a/lin-an.key").read_bytes() != (tmp_path / "b/lin-an.key").read_bytes()
    assert {r.serial for r in authority.revoke("lin-an", "stolen from the mast")} == {first.serial, second.serial}
    crl = x509.load_pem_x509_crl(authority.crl.read_bytes())
    assert crl.is_signature_valid(certificate(authority.certificate).public_key())
    assert {f"{row.serial_number:x}" for row in crl} == {first.serial, second.serial}
    assert crl.next_update_utc > datetime.now(UTC) + timedelta(days=3000)
    with pytest.raises(DeployError, match=r"was revoked \(stolen from the mast\)"):
        authority.renew("lin-an", folder=tmp_path / "c", days=30)
    with pytest.raises(DeployError, match="lin-an has no certificate that could be revoked"):
        authority.revoke("lin-an", "again")
    authority.issue("lin-an", Kind.STATION, folder=tmp_path / "c", days=30)  # a new beginning
    assert [r.state(datetime.now(UTC)) for r in authority.records()] == [State.REVOKED, State.REVOKED, State.VALID]
    with pytest.raises(DeployError, match="wuhan has no certificate here; names that have: lin-an"):
        authority.renew("wuhan", folder=tmp_path / "d", days=30)


def test_a_renewed_broker_keeps_its_names(authority, tmp_path):
    authority.issue("mqtt.example.org", Kind.BROKER, folder=tmp_path, days=30, hosts=["127.0.0.1", "mqtt2.example.org"])
    authority.renew("mqtt.example.org", folder=tmp_path, days=60)
    names = certificate(tmp_path / "mqtt.example.org.crt").extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert [str(name.value) for name in names.value] == ["mqtt.example.org", "127.0.0.1", "mqtt2.example.org"]


def test_workers_are_let_in_by_name_and_out_again(authority, tmp_path):
    for name in ("ingest-1", "ingest-2"):
        authority.issue(name, Kind.WORKER, folder=tmp_path / name, days=30)
    assert authority.access.read_text() == access_rules(["ingest-1", "ingest-2"])
    authority.revoke("ingest-1", "replaced")
    text = authority.access.read_text()
    assert "user ingest-2\n" in text
    assert "ingest-1" not in text
    assert text.count("pattern") == 5


def test_openssl_agrees(authority, tmp_path):
    authority.issue("lin-an", Kind.STATION, folder=tmp_path, days=30)

    files = "-CRLfile", authority.crl, "-CAfile", authority.certificate, tmp_path / "lin-an.crt"

    def verify():
        command = ["openssl", "verify", "-purpose", "sslclient", "-crl_check", *files]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert verify().returncode == 0, verify().stderr
    authority.revoke("lin-an", "lost")
    assert "certificate revoked" in verify().stderr


def run(*arguments):
    done = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_commands_from_nothing_to_a_stations_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("pki", "init", "Greenhouse gases of Zhejiang")
    assert "good until" in run("pki", "broker", "mqtt.example.org", "--also", "10.0.0.5")
    assert sorted(p.name for p in (tmp_path / "mqtt.example.org").iterdir()) == [
        "acl", "broker.crt", "broker.key", "ca.crt", "crl.pem",
    ]  # fmt: skip
    assert "copy pki/acl to the broker" in run("pki", "worker", "ingest-1")
    said = run("station", "add", "lin-an", "--broker", "mqtt.example.org", "--driver", "picarro")
    assert "INSTALL.txt says what to type" in said
    parcel = tmp_path / "lin-an"
    assert stat.S_IMODE(parcel.stat().st_mode) == 0o700
    # The agent takes the configuration as it is, with the files where the parcel has them.
    text = (parcel / "agent.toml").read_text().replace("/etc/station-agent/", f"{parcel}/")
    (tmp_path / "agent.toml").write_text(text.replace("/var/lib/station-agent", str(tmp_path)))
    read = config.read_config(tmp_path / "agent.toml")
    assert (read.station, read.broker.host, read.broker.port) == ("lin-an", "mqtt.example.org", 8883)
    assert "install -m 0600" in (parcel / "INSTALL.txt").read_text()
    run("pki", "renew", "lin-an", "--to", tmp_path / "new", "--days", "30")
    run("pki", "renew", "mqtt.example.org", "--to", tmp_path / "new-broker")
    names = [sorted(p.name for p in (tmp_path / folder).iterdir()) for folder in ("mqtt.example.org", "new-broker")]
    assert names[0] == names[1]
    assert "restart the broker" in run("pki", "revoke", "lin-an", "--why", "stolen")
    listed = run("pki", "list")
    assert [line.split()[:3] for line in listed.splitlines()] == [
        ["mqtt.example.org", "broker", "valid"],
        ["ingest-1", "worker", "valid"],
        ["lin-an", "station", "revoked"],
        ["lin-an", "station", "revoked"],
        ["mqtt.example.org", "broker", "valid"],
    ]
    rows = [json.loads(line) for line in (tmp_path / "pki/issued.jsonl").read_text().splitlines()]
    assert rows[-2]["reason"] == "stolen"


def test_a_folder_that_holds_something_is_left_alone(authority, tmp_path):
    (tmp_path / "lin-an").mkdir()
    (tmp_path / "lin-an/precious").write_text("x")
    options = {"driver": "picarro", "path": "/x", "days": 30}
    with pytest.raises(DeployError, match="is there and not empty"):
        parcel.write(authority, "lin-an", broker="mqtt.example.org", folder=tmp_path / "lin-an", **options)
    for broker in (":8883", "mqtt.example.org:0", "mqtt.example.org:99999"):
        with pytest.raises(DeployError, match="expected a name, or a name and port"):
            parcel.write(authority, "wuhan", broker=broker, folder=tmp_path / "wuhan", **options)
    assert not authority.records()


def test_a_parcel_can_be_installed_by_its_script_and_tried_without_an_instrument(authority, tmp_path):
    made = parcel.write(
        authority,
        "lin-an",
        broker="mqtt.example.org",
        driver="simulated",
        path="/x",
        days=30,
        folder=tmp_path / "lin-an",
    )
    typed = [line[4:] for line in (made / "INSTALL.txt").read_text().splitlines() if line.startswith("    ")]
    assert (made / "install.sh").read_text().splitlines() == ["set -e", *typed]
    assert subprocess.run(["sh", "-n", made / "install.sh"], check=False).returncode == 0
    text = (made / "agent.toml").read_text().replace("/etc/station-agent/", f"{made}/")
    (tmp_path / "agent.toml").write_text(text.replace("/var/lib/station-agent", str(tmp_path)))
    (only,) = config.read_config(tmp_path / "agent.toml").instruments
    assert (only.name, only.driver) == ("simulated", "simulated")


def test_an_authority_whose_list_is_another_users_is_refused_in_a_sentence(authority):
    (authority.folder / "issued.jsonl").unlink()
    with pytest.raises(DeployError, match=r"the authority's list cannot be read: .*; run as who owns"):
        authority.records()
