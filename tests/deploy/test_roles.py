"""Each user of the database does its work, and is refused what is another's."""

import uuid
from datetime import UTC, date, datetime

import numpy as np
import psycopg
import pytest
from psycopg import conninfo
from typer.testing import CliRunner

from deploy.cli import app
from deploy.jobs import qc
from ingest import catalogue, ledger, preview, products, read
from ingest.database import connect
from ingest.errors import StoreError
from ingest.ledger import Decision
from ingest.migrate import migrate
from ingest.products import InventoryEntry, InversionRun, Region
from ingest.roles import Role, grant, user
from tests.deploy.test_qc_job import START, hours, put, samples, series
from tests.path.network import STATION, document


def as_user(dsn, name, password):
    """Return the DSN of a user: by password where the server is asked over TCP, else as whom the owner speaks."""
    if "host=127.0.0.1" in dsn:
        return conninfo.make_conninfo(dsn, user=name, password=password)
    return conninfo.make_conninfo(dsn, options=f"-c role={name}")


@pytest.fixture
def store(dsn):
    migrate(dsn)
    catalogue.apply(dsn, document())
    return dsn


@pytest.fixture
def users(store):
    """DSN of a user of each role; dropped afterwards, for users are the server's and not the database's."""
    made = {role: f"test_{role}_{uuid.uuid4().hex[:8]}" for role in Role}
    with connect(store) as conn:
        passwords = {role: user(conn, name, role, connections=5) for role, name in made.items()}
    yield {role: as_user(store, name, passwords[role]) for role, name in made.items()}
    with connect(store) as conn:
        for name in made.values():
            conn.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_every_user_does_its_work(users):
    # Messages in, of today and of long ago: partitions or chunks are made on the way.
    put(users[Role.INGEST], samples(range(0, 3 * 3600, 20)), seq=1)
    put(users[Role.INGEST], samples(range(-400 * 86_400, -400 * 86_400 + 600, 20)), seq=2)
    with connect(users[Role.INGEST]) as conn:
        preview.refresh(conn)
    # Quality control, with a flag by hand.
    start, end = (datetime.fromtimestamp(START + shift, UTC) for shift in (0, 3600))
    decision = Decision(station=STATION, start=start, end=end, flag="bad", author="Li Hua", reason="a test")
    ledger.add(users[Role.QC], decision)
    qc.run_once(users[Role.QC], series())
    got = hours(users[Role.READER])
    assert got.sizes["time"] >= 3
    # An inversion and its ledger.
    with connect(users[Role.INVENTORY]) as conn, conn.transaction():
        products.write_inventory(conn, [ENTRY])
        products.write_inversion(
            conn, INVERSION, [Region("CN-ZJ", "kt", 1.0, 0.1, 1.1, 0.05)], covariance=np.array([[0.05**2]])
        )
    assert [s.name for s in read.stations(users[Role.READER])] == [STATION]


ENTRY = InventoryEntry(
    source="test", vintage="2025", region="CN-ZJ", category="0", species="ch4", first_day=date(2025, 1, 1),
    last_day=date(2025, 12, 31), value=1.0, sigma=0.1, unit="kt", notation="",
)  # fmt: skip
INVERSION = InversionRun(
    species="ch4",
    start=np.datetime64("2025-01-01"),
    end=np.datetime64("2026-01-01"),
    code_version="1",
    configuration_digest="",
    inputs={},
    diagnostics={},
    findings=[],
)

WRITES = {
    "catalogue": "INSERT INTO station (name) VALUES ('x')",
    "rename": "UPDATE station SET title = 'x'",
    "message": "INSERT INTO message (station) VALUES ('x')",
    "forget": "DELETE FROM message",
    "reading": "DELETE FROM reading",
    "minute": "DELETE FROM minute",
    "hour": "UPDATE hour SET value = 0",
    "ledger": "UPDATE manual_flag SET reason = 'x'",
    "flag": "INSERT INTO manual_flag (station_id) VALUES (1)",
    "inventory": "INSERT INTO inventory_entry (source) VALUES ('x')",
    "unpublish": "DELETE FROM inventory_entry",
    "inversion": "UPDATE posterior_region SET posterior = 0",
    "migration": "UPDATE migration SET checksum = ''",
    "drop": "DROP TABLE message",
    "role": "CREATE ROLE somebody SUPERUSER",
    "program": "COPY (SELECT 1) TO PROGRAM 'true'",
    "file": "SELECT pg_read_file('/etc/passwd')",
    "function": "CREATE OR REPLACE FUNCTION grant_roles() RETURNS text LANGUAGE sql AS 'SELECT 1::text'",
}
MAY = {
    Role.INGEST: {"message", "reading"},
    Role.QC: {"minute", "hour", "flag"},
    Role.INVENTORY: {"inventory"},
    Role.READER: set(),
}


@pytest.mark.parametrize("role", Role)
def test_what_a_user_must_not_do_is_refused(users, role):
    refused = set()
    with psycopg.connect(users[role], autocommit=True) as conn:
        for what, statement in WRITES.items():
            try:
                conn.execute(statement)
            except psycopg.errors.InsufficientPrivilege:
                refused.add(what)
            except psycopg.Error:
                pass  # it may, and the statement is none that would succeed
    assert refused == set(WRITES) - MAY[role]


@pytest.mark.timescale
def test_a_stranger_does_not_even_get_in(timescale_dsn):
    store = timescale_dsn
    migrate(store)
    name = f"test_stranger_{uuid.uuid4().hex[:8]}"
    with connect(store) as conn:
        conn.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
    try:
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(conninfo.make_conninfo(store, user=name, password="x"))
    finally:
        with connect(store) as conn:
            conn.execute(f"DROP ROLE {name}")


@pytest.mark.timescale
def test_connections_are_bounded_and_roles_exchanged(timescale_dsn):
    store = timescale_dsn
    migrate(store)
    name = f"test_{uuid.uuid4().hex[:8]}"
    with connect(store) as conn:
        password = user(conn, name, Role.INGEST, connections=1)
        assert len(password) >= 30
    ours = conninfo.make_conninfo(store, user=name, password=password)
    try:
        with psycopg.connect(ours), pytest.raises(psycopg.OperationalError, match="too many connections"):
            psycopg.connect(ours)
        with connect(store) as conn:
            user(conn, name, Role.READER, connections=2, password="another")
            (kept,) = conn.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", [name]).fetchone()
        assert kept.startswith("SCRAM-SHA-256$")
        with (
            psycopg.connect(conninfo.make_conninfo(store, user=name, password="another")) as conn,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            conn.execute("DELETE FROM reading")
    finally:
        with connect(store) as conn:
            conn.execute(f"DROP ROLE {name}")


def test_who_may_make_no_roles_is_told(store):
    name = f"test_owner_{uuid.uuid4().hex[:8]}"
    with connect(store) as conn:
        conn.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
        conn.execute(f"GRANT CONNECT ON DATABASE {conn.info.dbname} TO {name}")
    try:
        with connect(as_user(store, name, "x")) as conn:
            with pytest.raises(
                StoreError, match=r"(?s)roles were not made: .*; run `skyledger db roles` as a user who"
            ):
                grant(conn)
            with pytest.raises(StoreError, match=r"(?s)was not made: .*connect as a user who may make roles"):
                user(conn, "somebody_new", Role.READER, connections=1)
    finally:
        with connect(store) as conn:
            conn.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_the_commands(plain_dsn):
    migrate(plain_dsn)
    name = f"test_{uuid.uuid4().hex[:8]}"

    def run(*arguments):
        command, *rest = arguments
        return CliRunner().invoke(app, ["db", command, "--dsn", plain_dsn, *rest])

    assert "skyledger_ingest" in run("roles").output
    try:
        password = run("user", name, "--role", "reader").output.strip()
        with psycopg.connect(as_user(plain_dsn, name, password)) as conn:
            assert conn.execute("SELECT count(*) FROM message").fetchone() == (0,)
        assert "expected ingest, qc, inventory, reader" in str(run("user", name, "--role", "king").exception)
        for wrong in ("Robert'); DROP TABLE", "pg_x", "skyledger_x", ""):
            assert "is no name of a user" in str(run("user", "--role", "reader", "--", wrong).exception)
    finally:
        with connect(plain_dsn) as conn:
            conn.execute(f"DROP ROLE IF EXISTS {name}")
