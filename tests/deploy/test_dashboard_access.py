"""Who gets in to the network page, who may flag, and how it may be served at all."""

import base64
import http.client
import json
import re
import ssl
import stat
import subprocess
import sys
import uuid
import zlib
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from bokeh.server.util import check_allowlist
from psycopg import conninfo
from typer.testing import CliRunner

from deploy.cli import app
from deploy.dashboard import logins, requests, server, store, users
from deploy.errors import DeployError
from deploy.local.broker import free_port
from ingest import catalogue, ledger
from ingest.database import connect
from ingest.migrate import migrate
from ingest.roles import Role
from ingest.roles import user as make_user
from tests.deploy.dashboards import NAME, PASSWORD, site
from tests.path.network import STATION, document, until

SAID = {"station": STATION, "inlet": "50m", "gas": "co2", "start": "2026-03-01T00:00:00", "end": "2026-03-01T01:00:00",
        "flag": "bad", "reason": "visitors"}  # fmt: skip


@pytest.fixture
def migrated(plain_dsn):
    migrate(plain_dsn)
    catalogue.apply(plain_dsn, document())
    return plain_dsn


@pytest.fixture
def served(migrated, tmp_path):
    with site(migrated, tmp_path) as made:
        yield made


# --- users ---------------------------------------------------------------------------------------


def test_a_user_is_made_by_the_command_and_its_hash_is_its_owners_alone(tmp_path):
    path = tmp_path / "users.json"
    command = ["dashboard", "user", NAME, "--users", str(path)]
    done = CliRunner().invoke(app, command, input=f"{PASSWORD}\n{PASSWORD}\n")
    assert done.exit_code == 0, done.output
    assert f"{NAME} may flag" in done.output
    assert PASSWORD not in done.output
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert PASSWORD not in path.read_text()
    known = users.Users(path)
    assert known.fits(NAME, PASSWORD) is not None
    assert known.fits(NAME, PASSWORD + " ") is None
    assert known.fits("Nobody", PASSWORD) is None
    first = json.loads(path.read_text())["users"][NAME]
    users.put(path, NAME, PASSWORD)
    assert json.loads(path.read_text())["users"][NAME]["salt"] != first["salt"]  # the same password, another hash
    assert CliRunner().invoke(app, [*command, "--remove"]).output == f"{NAME} may no longer flag\n"
    assert known.fits(NAME, PASSWORD) is None  # the file is read again


def test_passwords_that_differ_or_are_short_make_no_user(tmp_path):
    path = tmp_path / "users.json"
    command = ["dashboard", "user", NAME, "--users", str(path)]
    assert CliRunner().invoke(app, command, input="one long password\nanother password\n").exit_code != 0
    short = CliRunner().invoke(app, command, input="short\nshort\n")
    assert "the password has 5 characters, expected 10 to 1024" in str(short.exception)
    assert not path.exists()


@pytest.mark.parametrize("name", ["", "<b>x</b>", "a\nb", " x", "x" * 64, "../x", 'x" y'])
def test_names_that_are_none(tmp_path, name):
    with pytest.raises(DeployError, match="expected a person's name"):
        users.put(tmp_path / "users.json", name, PASSWORD)


@pytest.mark.parametrize("name", ["李华", "Anne-Marie O'Neil", "x.y_z"])
def test_names_of_people(tmp_path, name):
    assert users.put(tmp_path / "users.json", name, PASSWORD)


def test_files_that_others_can_read_or_that_are_none_are_refused(tmp_path):
    path = tmp_path / "users.json"
    users.put(path, NAME, PASSWORD)
    path.chmod(0o640)
    with pytest.raises(DeployError, match="can be read by others: chmod 600"):
        users.Users(path)
    path.chmod(0o600)
    for content in ("[]", "{", '{"users": {"x": {}}}', '{"users": {"x": {"log_n": 60, "r": 8, "p": 1}}}'):
        path.write_text(content)
        with pytest.raises(DeployError, match="is no file of users"):
            users.Users(path)
    with pytest.raises(DeployError, match="No such file"):
        users.Users(tmp_path / "none.json")
    secret = tmp_path / "secret"
    made = users.secret(secret)
    assert (users.secret(secret), stat.S_IMODE(secret.stat().st_mode), len(made)) == (made, 0o600, 64)
    secret.write_text("short")
    with pytest.raises(DeployError, match="holds 5 bytes, expected 32"):
        users.secret(secret)


# --- logins --------------------------------------------------------------------------------------


def test_too_many_wrong_passwords_make_a_pause_that_grows_and_no_other_name_or_address_waits():
    time = [1000.0]
    limiter = logins.Limiter(now=lambda: time[0])
    for _ in range(logins.TRIES):
        assert limiter.wait("a", "here") == 0
        limiter.failed("a", "here")
    assert limiter.wait("a", "here") == logins.PAUSE_S
    assert (limiter.wait("b", "here"), limiter.wait("a", "there")) == (0, 0)
    time[0] += logins.PAUSE_S
    assert limiter.wait("a", "here") == 0
    limiter.failed("a", "here")
    assert limiter.wait("a", "here") == 2 * logins.PAUSE_S
    for k in range(logins.TRIES_OF_ADDRESS):
        limiter.failed(f"name {k}", "here")
    assert limiter.wait("anybody", "here") > 0
    limiter.succeeded("a", "here")
    assert limiter.wait("a", "here") > 0  # what its address did stays counted


def test_a_login_ends_with_time_logout_another_password_or_its_user(tmp_path):
    path, time = tmp_path / "users.json", [0.0]
    users.put(path, NAME, PASSWORD)
    known = users.Users(path)
    made = logins.Logins(known, b"x" * 32, now=lambda: time[0])
    key = made.begin(NAME, known.fits(NAME, PASSWORD))
    assert made.of(key).name == NAME
    assert made.of(key + "x") is made.of(None) is None
    other = made.begin(NAME, known.fits(NAME, PASSWORD))
    assert not made.proves(made.of(other), made.proof(made.of(key)))
    assert made.proves(made.of(key), made.proof(made.of(key)))
    made.end(key)
    assert made.of(key) is None
    users.put(path, NAME, "another password")
    assert made.of(other) is None
    late = made.begin(NAME, known.fits(NAME, "another password"))
    time[0] = logins.LASTS_S
    assert made.of(late) is None


def test_the_cookie_is_signed_hidden_from_scripts_and_sent_to_this_site_alone(served):
    status, cookie, headers, _ = served.sign_in()
    assert status == 303
    said = headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in said.split(";")}
    assert served.proof(cookie)
    forged = cookie[:-1] + ("0" if cookie[-1] != "0" else "1")
    assert served.proof(forged) is None
    assert NAME in served.request("GET", "/", headers={"Cookie": cookie})[2]
    assert NAME not in served.request("GET", "/", headers={"Cookie": forged})[2]


def test_no_cookie_stands_in_the_page(served):
    """What Bokeh puts into a page is readable by its scripts: cookies must not be among it."""
    _, cookie, _, _ = served.sign_in()
    text = served.request("GET", "/", headers={"Cookie": cookie, "X-Else": "else"})[2]
    token = text.split('"token":"')[1].split('"')[0].split(".")[0]
    payload = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    more = json.loads(zlib.decompress(base64.urlsafe_b64decode(payload["__bk__zlib_"] + "===")))
    assert (more["cookies"], more["headers"]) == ({}, {})


def test_wrong_passwords_are_refused_then_nobody_gets_in_until_the_pause_is_over(served):
    for _ in range(logins.TRIES):
        status, cookie, _, text = served.sign_in(password="wrong password")
        assert (status, cookie) == (401, "")
        assert "Name or password is wrong." in text
    status, cookie, headers, text = served.sign_in()  # right, but too late
    assert (status, cookie, headers["Retry-After"]) == (429, "", "30")
    assert "try again in 30 s" in text
    served.clock.advance(seconds=31)
    assert served.sign_in()[0] == 303


def test_a_name_nobody_has_is_told_apart_from_a_wrong_password_by_nothing(served):
    assert served.sign_in(name="Nobody")[3].replace("Nobody", NAME) == served.sign_in(password="wrong password")[3]


def test_a_hostile_name_in_the_form_stays_text(served):
    assert "<script>" not in served.sign_in(name='"><script>x</script>')[3]


def test_forms_from_elsewhere_are_refused(served):
    for origin in ("http://evil.example", "null", "", f"http://127.0.0.1:{served.settings.port + 1}"):
        assert served.sign_in(Origin=origin)[0] == 403
    _, cookie, _, _ = served.sign_in()
    proof = served.proof(cookie)
    assert served.flag(SAID, cookie=cookie, proof=proof, origin="http://evil.example")[0] == 403
    assert served.request("POST", "/logout", headers={"Cookie": cookie, "Origin": "http://evil.example"})[0] == 403
    assert served.proof(cookie)


# --- flags ---------------------------------------------------------------------------------------


def test_only_who_is_logged_in_and_shows_what_the_page_knows_can_flag(served, migrated):
    _, cookie, _, _ = served.sign_in()
    proof = served.proof(cookie)
    assert served.flag(SAID) == (403, {"error": "flagging needs a login"})
    assert served.flag(SAID, cookie="skyledger=x", proof=proof)[0] == 403
    assert served.flag(SAID, cookie=cookie)[0] == 403
    assert served.flag(SAID, cookie=cookie, proof="0" * 64)[0] == 403
    assert ledger.rows(migrated) == []
    assert served.flag(SAID | {"author": "Somebody Else"}, cookie=cookie, proof=proof) == (200, {"row": 1})
    assert served.flag(SAID | {"gas": "", "flag": "suspect"}, cookie=cookie, proof=proof) == (200, {"row": 2})
    one, two = ledger.rows(migrated)
    assert (one.author, one.reason, one.gas, one.inlet, one.flag.name) == (NAME, "visitors", "co2", "50m", "BAD")
    assert (one.start, one.end) == (datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 1, 1, tzinfo=UTC))
    assert (two.gas, two.flag.name) == (None, "SUSPECT")
    headers = {"Cookie": cookie, "Origin": served.url.rstrip("/")}
    assert served.request("POST", "/logout", headers=headers)[0] == 303
    assert served.flag(SAID, cookie=cookie, proof=proof)[0] == 403  # the cookie was kept, the login has ended


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"reason": " \n "}, "the reason has 0 characters"),
        ({"reason": "x" * 501}, "the reason has 501 characters, expected 1 to 500"),
        ({"station": "nowhere"}, "station 'nowhere' is not in the catalogue"),
        ({"inlet": "9m"}, "inlet '9m' of station 'lin-an' is not in the catalogue"),
        ({"flag": "good'; --"}, 'flag "good\'; --" is none'),
        ({"gas": "so2"}, "gas 'so2' is none"),
        ({"start": "yesterday"}, "'yesterday' is not a time"),
        ({"end": "2026-02-28"}, "is empty: give its end after its start"),
        ({"reason": 5}, "a flag is JSON with the texts"),
    ],
)
def test_what_is_no_flag_is_refused_in_a_sentence(served, migrated, change, sentence):
    _, cookie, _, _ = served.sign_in()
    status, answer = served.flag(SAID | change, cookie=cookie, proof=served.proof(cookie))
    assert status == 400
    assert sentence in answer["error"]
    assert ledger.rows(migrated) == []


def test_a_reason_cannot_hold_what_a_terminal_would_obey(served, migrated):
    _, cookie, _, _ = served.sign_in()
    said = SAID | {"reason": "a\x1b[31m\nb\u202ec\x00"}
    assert served.flag(said, cookie=cookie, proof=served.proof(cookie))[0] == 200
    assert ledger.rows(migrated)[0].reason == "a [31m b c"


def test_a_session_asks_as_who_can_only_read_and_a_flag_is_written_as_another(migrated, tmp_path):
    names = {role: f"test_{role}_{uuid.uuid4().hex[:8]}" for role in (Role.READER, Role.QC)}
    with connect(migrated) as conn:
        for role, name in names.items():
            make_user(conn, name, role, connections=10)
    dsn = {role: conninfo.make_conninfo(migrated, options=f"-c role={name}") for role, name in names.items()}
    try:
        with site(migrated, tmp_path, read_dsn=dsn[Role.READER], write_dsn=dsn[Role.QC]) as served:
            assert served.request("GET", "/")[0] == 200
            _, cookie, _, _ = served.sign_in()
            assert served.flag(SAID, cookie=cookie, proof=served.proof(cookie)) == (200, {"row": 1})
        asking = store.Store(dsn[Role.READER])
        with pytest.raises(DeployError, match="the database does not answer"):
            asking._ask(lambda conn: conn.execute("INSERT INTO feed_cursor VALUES ('x')"))
        asking.close()
        asking = store.Store(migrated)  # even where it is given the owner's
        with pytest.raises(DeployError, match="the database does not answer"):
            asking._ask(lambda conn: conn.execute("INSERT INTO feed_cursor VALUES ('x')"))
        asking.close()
    finally:
        with psycopg.connect(migrated, autocommit=True) as conn:
            for name in names.values():
                conn.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


# --- how it is served ----------------------------------------------------------------------------


def test_every_answer_of_its_own_forbids_frames_foreign_scripts_and_to_be_kept(served):
    for path in ("/", "/login", "/assets/page.js"):
        headers = served.request("GET", path)[1]
        policy = headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in policy
        assert "default-src 'none'" in policy
        assert "unsafe-eval" not in policy
        assert "script-src 'self' 'nonce-" in policy
        assert (headers["X-Content-Type-Options"], headers["Cache-Control"]) == ("nosniff", "no-store")
    nonces = {served.request("GET", "/")[1]["Content-Security-Policy"].split("nonce-")[1][:22] for _ in range(2)}
    assert len(nonces) == 2
    for path in ("/autoload.js", "/metadata", "/assets/../users.py", "/assets/%2e%2e/users.py", "/users.json"):
        assert served.request("GET", path)[0] in (403, 404), path


@pytest.mark.parametrize("way", ["/?bokeh-session-id={}", "/?bokeh-token={}", "header"])
def test_a_session_that_somebody_had_before_is_taken_by_nobody(served, way):
    page = served.request("GET", "/")[2]
    named = re.search(r'"token":"([^"]+)"', page)[1]
    headers = {"Bokeh-Session-Id": named} if way == "header" else {}
    path = "/" if way == "header" else way.format(named)
    assert served.request("GET", path, headers=headers)[0] == 403


def test_a_session_from_elsewhere_is_refused(served):
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
               "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "bokeh, x"}  # fmt: skip
    assert served.request("GET", "/ws", headers=upgrade | {"Origin": "http://evil.example"})[0] == 403


def test_a_body_without_end_is_refused(served):
    headers = {"Origin": served.url.rstrip("/"), "Content-Type": "application/json"}
    try:
        status, _, _ = served.request("POST", "/flag", body="x" * 2**20, headers=headers)
    except OSError:  # it hung up while we still spoke
        status = 400
    assert status in (400, 413)
    assert served.request("GET", "/login")[0] == 200


def test_sessions_are_bounded(served, monkeypatch):
    monkeypatch.setattr(requests, "MOST_VISITORS", 2)
    assert [served.request("GET", "/")[0] for _ in range(3)] == [200, 200, 503]


def test_without_users_nobody_logs_in(migrated, tmp_path):
    with site(migrated, tmp_path, login=False) as served:
        assert served.request("GET", "/login")[0] == 404
        assert served.sign_in()[0] == 404
        assert served.flag(SAID)[0] == 403


def settings(**more):
    return server.Settings(dsn="dbname=x", port=free_port(), **more)


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"address": "192.0.2.1"}, "lets other machines in, and passwords would go over the network in the clear"),
        ({"address": "0.0.0.0", "plain": True}, "say by --allow-websocket-origin HOST:PORT"),
        ({"address": "2001:db8::1", "plain": True}, "say by --allow-websocket-origin HOST:PORT"),
        ({"address": "::1"}, "say by --allow-websocket-origin HOST:PORT"),
        ({"origins": ("*",)}, "expected HOST or HOST:PORT, without *"),
        ({"origins": ("*.example.org:80",)}, "expected HOST or HOST:PORT, without *"),
        ({"origins": ("https://sky.example.org/",)}, "expected HOST or HOST:PORT"),
        ({"address": "somewhere"}, "is no address"),
        ({"certificate": Path("x")}, "--tls-cert goes with --tls-key"),
        ({"users": Path("x")}, "--users goes with --write-dsn"),
        ({"write_dsn": "dbname=x"}, "--users goes with --write-dsn"),
        ({"users": Path("x"), "write_dsn": "dbname=x"}, "--users goes with --secret"),
    ],
)
def test_what_would_be_unsafe_is_refused_before_anything_listens(more, sentence):
    with pytest.raises(DeployError, match=sentence):
        server.made(settings(**more))


def test_other_machines_are_let_in_with_tls_or_when_it_is_said():
    server.require_safe(settings(address="192.0.2.1", plain=True))
    server.require_safe(settings(address="192.0.2.1", certificate=Path("x"), key=Path("y")))
    named = settings(address="0.0.0.0", plain=True, origins=("sky.example.org:443",))
    server.require_safe(named)
    assert server.allowed(named) == ["sky.example.org:443", "sky.example.org:80"]
    assert check_allowlist("sky.example.org", server.allowed(named))  # as a browser says it
    assert server.allowed(settings(address="::1", origins=("sky.example.org",))) == ["sky.example.org:80"]


def test_the_command_serves_by_tls_until_it_is_told_to_stop(migrated, tmp_path):
    """As on the page: by a process of its own, its cookie then never sent without TLS."""
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    key = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", *subject]
    subprocess.run(
        [*key, "-days", "2", "-keyout", tmp_path / "key", "-out", tmp_path / "crt"], check=True, capture_output=True
    )
    users.put(tmp_path / "users.json", NAME, PASSWORD)
    port = free_port()
    command = [sys.executable, "-m", "deploy", "dashboard", "--dsn", migrated, "--write-dsn", migrated]
    command += ["--users", tmp_path / "users.json", "--port", str(port)]
    command += ["--tls-cert", tmp_path / "crt", "--tls-key", tmp_path / "key"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == f"The network page: https://127.0.0.1:{port}/ until Ctrl-C.\n"
        said = signed_in_by_tls(port, tmp_path / "crt")
        assert said.startswith("__Host-skyledger=")
        assert {"Secure", "HttpOnly", "SameSite=Strict"} <= {part.strip() for part in said.split(";")}
    finally:
        process.terminate()
        _, complaint = process.communicate(timeout=60)
    assert process.returncode == 0, complaint
    assert "Traceback" not in complaint


def signed_in_by_tls(port, certificate):
    context = ssl.create_default_context(cafile=certificate)
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=60)
    headers = {"Content-Type": "application/x-www-form-urlencoded", "Origin": f"https://127.0.0.1:{port}"}
    body = f"name={NAME.replace(' ', '+')}&password={PASSWORD.replace(' ', '+')}"
    connection.request("POST", "/login", body=body, headers=headers)
    answer = connection.getresponse()
    said = answer.getheader("Set-Cookie")
    connection.close()
    return said


def test_a_port_that_is_taken_is_said_in_a_sentence(served):
    command = [sys.executable, "-m", "deploy", "dashboard", "--dsn", served.settings.dsn]
    done = subprocess.run(
        [*command, "--port", str(served.settings.port)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert f"127.0.0.1:{served.settings.port} cannot be listened at: " in done.stderr
    done = subprocess.run(
        [*command[:-2], "--crosscheck", "/nowhere", "--dsn", "x"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "--crosscheck /nowhere: there is no such file or folder" in done.stderr
    assert until(lambda: served.request("GET", "/login")[0] == 200, "the first goes on")
