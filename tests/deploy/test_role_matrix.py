"""Every role tries every verb on every table and sequence, on a real server: what it may is what stands here."""

import uuid

import psycopg
import pytest
from psycopg import conninfo
from typer.testing import CliRunner

from deploy.cli import app
from ingest import catalogue
from ingest.database import connect
from ingest.maintain import maintain
from ingest.migrate import migrate
from ingest.roles import Role, granted, user
from tests import servers
from tests.deploy.test_qc_job import put, samples
from tests.deploy.test_roles import as_user
from tests.path.network import document

KINDS = ["plain", pytest.param("timescale", marks=pytest.mark.timescale)]

EVERYTHING = {"SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "TRIGGER", "ALTER", "DROP"}
MAY = {
    Role.INGEST: {
        "message station_status backfill replacement feed_cursor": {"INSERT", "UPDATE"},
        "reading_aside preview_hour preview_day": {"INSERT", "UPDATE", "DELETE"},
        "event": {"INSERT"},
        "state": {"INSERT", "UPDATE (mark)"},
        "channel": {"INSERT", "UPDATE (quantity)"},
        "reading": EVERYTHING,
        "public": {"CREATE"},
    },
    Role.QC: {
        "qc_run minute hour injection qc_series": {"INSERT", "UPDATE", "DELETE"},
        "feed_cursor": {"INSERT", "UPDATE"},
        "manual_flag cylinder_correction": {"INSERT"},
    },
    Role.INVENTORY: {"inventory_entry inversion_run posterior_region": {"INSERT"}},
    Role.READER: {},
}
"""What a role may beside reading every table. A sequence is nobody's but the owner's: the tables draw from them."""

RELATIONS = """
SELECT c.oid::regclass::text, c.relkind = 'S', coalesce(i.inhparent::regclass::text, c.oid::regclass::text),
       ARRAY(SELECT attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND attnum > 0 AND NOT attisdropped)
FROM pg_class c LEFT JOIN pg_inherits i ON i.inhrelid = c.oid
WHERE (c.relnamespace = 'public'::regnamespace OR i.inhparent = 'reading'::regclass) AND c.relkind IN ('r', 'p', 'S')
ORDER BY 1"""
TABLE = {
    "SELECT": "SELECT * FROM {} LIMIT 0",
    "INSERT": "INSERT INTO {} DEFAULT VALUES",
    "DELETE": "DELETE FROM {} WHERE false",
    "TRUNCATE": "TRUNCATE {}",
    "TRIGGER": "CREATE TRIGGER one BEFORE INSERT ON {} FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()",
    "ALTER": "ALTER TABLE {} SET (fillfactor = 90)",
    "DROP": "DROP TABLE {}",
}
COLUMN = "UPDATE {} SET {} = DEFAULT WHERE false"
SEQUENCE = {
    "SELECT": "SELECT last_value FROM {}",
    "USAGE": "SELECT nextval('{}')",
    "UPDATE": "SELECT setval('{}', 7)",
    "ALTER": "ALTER SEQUENCE {} RESTART",
    "DROP": "DROP SEQUENCE {}",
}
SCHEMA = {
    "CREATE": "CREATE TABLE public.one (x integer)",
    "ALTER": "ALTER SCHEMA public RENAME TO one",
    "DROP": "DROP SCHEMA public CASCADE",
}


@pytest.fixture
def store(dsn):
    migrate(dsn)
    catalogue.apply(dsn, document())
    with connect(dsn) as conn:  # so that there is a day of readings, made as in earnest
        name = f"test_put_{uuid.uuid4().hex[:8]}"
        password = user(conn, name, Role.INGEST, connections=2)
    put(as_user(dsn, name, password), samples(range(0, 3600, 20)), seq=1)
    yield dsn
    with connect(dsn) as conn:
        conn.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def may(conn, statement):
    """Whether the server lets the user do it; whatever it does is undone."""
    try:
        with conn.transaction(force_rollback=True):
            conn.execute(statement)
    except psycopg.errors.InsufficientPrivilege:
        return False
    except psycopg.Error:
        return True  # it may, and there is something else against the statement
    return True


def allowed(conn, name, columns, *, sequence):
    """The verbs a user may on one relation."""
    verbs = {verb for verb, text in (SEQUENCE if sequence else TABLE).items() if may(conn, text.format(name))}
    if not sequence:
        some = [column for column in columns if may(conn, COLUMN.format(name, f'"{column}"'))]
        verbs |= {"UPDATE"} if some == columns else {f"UPDATE ({column})" for column in some}
    return verbs


def expected(role, name, *, sequence):
    stated = [verbs for names, verbs in MAY[role].items() if name in names.split()]
    return set().union(*stated) if sequence else {"SELECT"}.union(*stated)


@pytest.mark.parametrize("role", Role)
def test_a_role_may_on_every_table_and_sequence_what_is_stated_and_no_more(store, role):
    with connect(store) as conn:
        relations = conn.execute(RELATIONS).fetchall()
        name = f"test_{role}_{uuid.uuid4().hex[:8]}"
        password = user(conn, name, role, connections=2)
    found, stated = {}, {}
    try:
        with psycopg.connect(as_user(store, name, password), autocommit=True) as conn:
            for relation, sequence, parent, columns in relations:
                found[relation] = allowed(conn, relation, columns, sequence=sequence)
                # PostgreSQL's own partitions are reached through `reading`: each is the user's who made it.
                alone = parent != relation and not relation.startswith("_timescaledb_internal.")
                stated[relation] = set() if alone else expected(role, parent, sequence=sequence)
            found["public"] = {verb for verb, text in SCHEMA.items() if may(conn, text)}
            stated["public"] = expected(role, "public", sequence=True)
    finally:
        with connect(store) as conn:
            conn.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")
    assert found == stated
    assert len(found) > 40
    assert [relation for relation, _, parent, _ in relations if parent != relation]  # a day of readings
    for names in MAY[role]:
        assert set(names.split()) <= set(found)


def as_owner(server, name):
    """DSN of a database that belongs to a new user who may make roles, and is nothing else."""
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        conn.execute(f"CREATE ROLE {name} LOGIN CREATEROLE")
        conn.execute(f"CREATE DATABASE {name} OWNER {name} TEMPLATE template0")
    return conninfo.make_conninfo(server.dsn, dbname=name, options=f"-c role={name}")


@pytest.mark.parametrize("kind", KINDS)
def test_an_owner_who_may_make_roles_needs_no_settings_of_the_server(kind):
    with servers.throwaway_folder() as folder, servers.own_server(kind, folder, durable=False) as server:
        dsn = as_owner(server, "keeper")
        done = CliRunner().invoke(app, ["db", "migrate", "--dsn", dsn])
        assert done.exit_code == 0, done.exception
        assert "roles were not made" not in done.output
        with connect(dsn) as conn:
            assert conn.execute("SELECT current_user, current_setting('is_superuser')").fetchone() == ("keeper", "off")
            assert granted(conn)
            user(conn, "incoming", Role.INGEST, connections=3)
        catalogue.apply(dsn, document())
        incoming = conninfo.make_conninfo(dsn, options="-c role=incoming")
        put(incoming, samples(range(0, 3600, 20)), seq=1)
        # What the worker's days are made of is the owner's to let go.
        assert "1 partitions of readings" in " ".join(maintain(dsn, keep_days=1))
        with connect(dsn) as conn:
            assert conn.execute("SELECT count(*) FROM reading").fetchone() == (0,)


@pytest.mark.parametrize("kind", KINDS)
def test_an_owner_who_may_make_no_roles_is_told_what_to_do_and_it_helps(kind):
    with servers.throwaway_folder() as folder, servers.own_server(kind, folder, durable=False) as server:
        dsn = as_owner(server, "keeper")
        with psycopg.connect(server.dsn, autocommit=True) as conn:
            conn.execute("ALTER ROLE keeper NOCREATEROLE")
        for said in ("applied 0015 owner", "The database is up to date."):
            done = CliRunner().invoke(app, ["db", "migrate", "--dsn", dsn])
            assert done.exit_code == 0, done.exception
            assert said in done.output
            assert "roles were not made: permission denied to create role" in done.output
            assert "run `skyledger db roles` as a user who may make roles" in done.output
        superuser = conninfo.make_conninfo(server.dsn, dbname="keeper")
        assert CliRunner().invoke(app, ["db", "roles", "--dsn", superuser]).exit_code == 0
        done = CliRunner().invoke(app, ["db", "migrate", "--dsn", dsn])
        assert done.output == "The database is up to date.\n"
