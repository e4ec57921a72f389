"""A server that is to wait for the stream of its log: nothing is acknowledged that it alone has."""

import threading

import psycopg
import pytest

from ingest import catalogue, desk
from ingest.database import connect
from ingest.errors import StoreError
from ingest.migrate import migrate
from ingest.replication import Confirmation
from ingest.roles import Role, user
from ingest.store import Writer
from tests import servers
from tests.ingest.payloads import CATALOGUE, batch, census, said, samples, until
from tests.ingest.station import consuming, station


@pytest.fixture
def server():
    with servers.throwaway_folder() as folder, servers.Postgres(folder) as one:
        migrate(one.dsn)
        catalogue.apply(one.dsn, CATALOGUE)
        yield one


def wait_for(server, standby):
    """Let commits wait for a standby from now on; none is there."""
    with psycopg.connect(server.dsn, autocommit=True) as conn:
        conn.execute("SET synchronous_commit = local")
        conn.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{standby}'")
        conn.execute("SELECT pg_reload_conf()")
        until(lambda: conn.execute("SHOW synchronous_standby_names").fetchone() == (standby,))


def waiting(server):
    with psycopg.connect(server.dsn) as conn:
        return conn.execute("SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep'").fetchone() is not None


def give_up(server, conn):
    """Cancel a commit once it waits."""
    until(lambda: waiting(server))
    conn.cancel_safe()


def test_what_waits_for_the_stream_is_not_acknowledged_even_where_a_wait_is_given_up(
    server, mosquitto, monkeypatch, caplog
):
    monkeypatch.setattr(desk, "STALL", 1.0)
    monkeypatch.setattr(desk, "MAX_STALL", 1.0)
    monkeypatch.setattr(desk, "MAX_BACKOFF", 0.2)
    with consuming(server.dsn, mosquitto) as consumer, station(mosquitto) as one:
        one.deliver([batch(samples(), spool="warm")])
        wait_for(server, "skyledger_wal")
        one.send(batch(samples(first=1_790_001_000), seq=2))
        until(lambda: waiting(server))
        one.send(batch(samples(first=1_790_001_000), seq=2))  # as an agent does that hears nothing
        # The wait is given up, and the message is there for everybody to see: on this server alone.
        until(lambda: census(server.dsn)["stored"] == 2, seconds=60)
        until(lambda: caplog.text.count("wait, the database cannot be written now") >= 4, seconds=60)
        assert len(one.acknowledged) == 1
        wait_for(server, "")
        until(lambda: len(one.acknowledged) == 2, seconds=60)
    assert consumer.tally.connections >= 1
    assert census(server.dsn)["rows"] == 2 * 60 * 4


def test_what_another_transaction_left_waits_too(server):
    """As after the server was ended while a commit waited: it is there, and nobody knows whether elsewhere."""
    with connect(server.dsn) as conn:
        name = "incoming"
        user(conn, name, Role.INGEST, connections=5)
    mine = psycopg.conninfo.make_conninfo(server.dsn, options=f"-c role={name}")
    with connect(mine) as conn:
        confirmation = Confirmation(conn)
        assert not Writer(conn).write([said(batch(samples()))]).results[0].repeated
        confirmation.require(earlier=True)
        wait_for(server, "skyledger_wal")
        assert Writer(conn).write([said(batch(samples()))]).results[0].repeated  # reads, and so waits for nobody
        giving_up = threading.Thread(target=give_up, args=(server, conn))
        giving_up.start()
        with pytest.raises(StoreError, match=r"stands on this server alone.*is `skyledger db wal` running\?"):
            confirmation.require(earlier=True)
        giving_up.join()
    wait_for(server, "")
    with connect(mine) as conn:
        Confirmation(conn).require(earlier=True)
