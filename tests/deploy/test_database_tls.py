"""The database over the network: over TLS 1.3 alone, known by its certificate, and to each role so many connections."""

import re
import shutil
import signal
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo
from typer.testing import CliRunner

from deploy.cli import app
from deploy.local import process
from deploy.local.account import server_account
from deploy.local.broker import free_port
from ingest.database import connect
from ingest.migrate import migrate
from ingest.roles import Role, user
from tests import servers

pytestmark = pytest.mark.timescale
FILES = Path(__file__).parents[2] / "deploy/postgresql"
PASSWORD = "of the owner"


def run(*words):
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, done.exception
    return done.output


def settings(certificates):
    """What the file that is shipped says, with the certificates where they are here."""
    found = dict(re.findall(r"^(\w[\w.]*) = '?(.*?)'?$", (FILES / "skyledger.conf").read_text(), re.MULTILINE))
    assert found["ssl"] == "on"
    for name in ("ssl_cert_file", "ssl_key_file"):
        found[name] = str(certificates / Path(found[name]).name)
    return found


@contextmanager
def listening(folder, bindir, certificates):
    """The server on a port of the loopback, with the configuration that is shipped; yields host and port."""
    cluster = folder / "postgres/cluster"
    account = server_account(cluster)
    shutil.copy(FILES / "pg_hba.conf", certificates)
    for path in (certificates, *certificates.iterdir()):
        account.take(path)
    port = free_port()
    given = {
        **settings(certificates),
        "hba_file": str(certificates / "pg_hba.conf"),
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "port": str(port),
    }
    words = [word for name, value in given.items() for word in ("-c", f"{name}={value}")]
    log = folder / "listening.log"
    child = process.spawn(
        [str(bindir / "postgres"), "-D", str(cluster), *words], account=account, log=log, on_owner_death=signal.SIGINT
    )
    try:
        ready = "database system is ready"
        assert process.wait_until(lambda: log.exists() and ready in log.read_text(), child, seconds=60), process.tail(
            log
        )
        yield f"host=localhost hostaddr=127.0.0.1 port={port} dbname=skyledger"
    finally:
        process.stop(child, [(signal.SIGINT, 30)], name="postgres")


@pytest.fixture(scope="module")
def place():
    """Folder of everything, the server's address, and a user of each role."""
    with servers.throwaway_folder() as folder, ExitStack() as stack:
        run("pki", "init", "tests", "--pki", folder / "pki")
        run("pki", "init", "strangers", "--pki", folder / "strangers")
        run("pki", "broker", "localhost", "--to", folder / "database", "--pki", folder / "pki")
        with servers.own_server("timescale", folder, durable=False) as server:
            migrate(server.dsn)
            with connect(server.dsn) as conn:
                conn.execute(f"ALTER ROLE skyledger PASSWORD '{PASSWORD}'")
                conn.execute("CREATE ROLE copier LOGIN REPLICATION PASSWORD 'copies'")
                passwords = {role: user(conn, f"a_{role}", role, connections=2) for role in Role}
        address = stack.enter_context(listening(folder, servers.timescale_programs(), folder / "database"))
        yield folder, address, passwords


def told(place, **changes):
    """How the operator's page has everybody connect, but for what is changed."""
    folder, address, passwords = place
    given = {
        "user": "a_reader",
        "password": passwords[Role.READER],
        "sslmode": "verify-full",
        "sslrootcert": str(folder / "pki/ca.crt"),
    }
    return conninfo.make_conninfo(address, **{**given, **changes})


def test_the_connection_is_tls_1_3_to_the_one_the_authority_knows(place):
    with psycopg.connect(told(place)) as conn:
        assert conn.execute("SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone() == (
            True,
            "TLSv1.3",
        )
        assert conn.execute("SELECT count(*) FROM message").fetchone() == (0,)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sslmode": "disable"}, r"no pg_hba.conf entry .* no encryption"),
        ({"sslrootcert": "strangers/ca.crt"}, "certificate verify failed"),
        ({"host": "127.0.0.1"}, r"certificate for .*localhost.* does not match host name"),
        ({"ssl_max_protocol_version": "TLSv1.2"}, "protocol version"),
        ({"password": "guessed"}, "password authentication failed"),
        ({"user": "nobody"}, "password authentication failed"),
    ],
    ids=str,
)
def test_anything_less_is_refused(place, changes, sentence):
    if "sslrootcert" in changes:
        changes = {"sslrootcert": str(place[0] / changes["sslrootcert"])}
    with pytest.raises(psycopg.OperationalError, match=sentence):
        psycopg.connect(told(place, **changes))


@pytest.mark.parametrize("role", Role)
def test_a_role_has_so_many_connections_and_no_more(place, role):
    mine = told(place, user=f"a_{role}", password=place[2][role])
    with psycopg.connect(mine) as one, psycopg.connect(mine) as two:
        assert (one.closed, two.closed) == (False, False)
        with pytest.raises(psycopg.OperationalError, match=f'too many connections for role "a_{role}"'):
            psycopg.connect(mine)
        with psycopg.connect(told(place, user="skyledger", password=PASSWORD)):
            pass  # others have theirs


def test_a_backup_is_made_over_tls_by_a_user_who_may_copy_and_nothing_else(place):
    folder, *_ = place
    dsn = told(place, user="copier", password="copies", dbname="postgres")
    words = ("--bin", servers.timescale_programs(), "--dsn")
    handler = signal.getsignal(signal.SIGTERM)
    try:
        assert "MB, verified" in run("db", "backup", folder / "backups", *words, dsn)
    finally:
        signal.signal(signal.SIGTERM, handler)
    wrong = told(place, user="a_reader", password=place[2][Role.READER])
    done = CliRunner().invoke(app, ["db", "backup", str(folder / "backups"), *map(str, words), wrong])
    assert "connect as postgres or as a user with REPLICATION" in str(done.exception)
    signal.signal(signal.SIGTERM, handler)
