"""What a worker answers over HTTP: figures, whether it is alive, whether it does its work; and to nonsense."""

import http.client
import re
import socket
import time
from contextlib import closing, contextmanager

import psycopg
import pytest

from ingest import endpoints, readiness
from ingest.consumer import Consumer
from ingest.errors import StoreError
from tests.ingest.payloads import batch, samples, until
from tests.ingest.station import consuming, station
from tests.ingest.test_faults import relayed

AWAY = {"dsn": "host=127.0.0.1 port=9 dbname=none password=hunter22", "host": "127.0.0.1", "port": 9}


def asked(port, path, *, method="GET", **headers):
    """Return status, headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    try:
        return answer.status, dict(answer.headers), answer.read().decode()
    finally:
        connection.close()


def raw(port, request):
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        line.sendall(request)
        line.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: line.recv(4096), b"")).decode()


@contextmanager
def answering(consumer=None, **options):
    with endpoints.served(consumer or Consumer(**AWAY), "127.0.0.1", 0, **options) as port:
        yield port


def test_a_worker_that_works_is_alive_and_ready(plain_store, broker):
    with consuming(plain_store, broker) as consumer, answering(consumer) as port, station(broker) as one:
        until(lambda: asked(port, "/readyz")[0] == 200)
        assert "none yet" in asked(port, "/readyz")[2]
        one.deliver([batch(samples(3), spool="r", seq=1)])
        status, headers, said = asked(port, "/readyz")
        assert status == 200
        assert [line.partition(":")[0] for line in said.splitlines()] == ["ok"] * 4
        assert re.search(r"the last \d+ s ago", said)
        assert headers["Cache-Control"] == "no-store"
        assert asked(port, "/healthz")[::2] == (200, "ok: alive\n")


def test_without_broker_or_database_it_is_alive_and_not_ready(plain_store, broker, monkeypatch):
    monkeypatch.setattr(readiness, "ASK_S", 0.0)
    with consuming(plain_store, broker) as consumer, answering(consumer) as port:
        until(lambda: asked(port, "/readyz")[0] == 200)
        broker.kill()
        until(lambda: asked(port, "/readyz")[0] == 503)
        said = asked(port, "/readyz")[2]
        assert "failed: the broker is not connected to" in said
        assert "ok: the database answers" in said
        assert asked(port, "/healthz")[0] == 200
        broker.start()
        until(lambda: asked(port, "/readyz")[0] == 200)


def test_a_database_that_is_away_is_said_without_saying_where_or_as_whom():
    with answering() as port:
        status, _, said = asked(port, "/readyz")
        assert status == 503
        assert "failed: the database does not answer (StoreError)" in said
        assert not [secret for secret in ("hunter22", "dbname", "127.0.0.1") if secret in said]
        assert asked(port, "/healthz")[::2] == (200, "ok: starting\n")


def test_a_connection_that_was_ended_is_made_again(plain_store, monkeypatch):
    monkeypatch.setattr(readiness, "ASK_S", 0.0)
    with closing(readiness.Readiness(Consumer(dsn=plain_store, host="127.0.0.1"))) as judge:
        assert "ok: the database answers" in str(judge.verdict())
        with psycopg.connect(plain_store) as conn:
            others = "datname = current_database() AND pid <> pg_backend_pid()"
            conn.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
        assert "failed: the database does not answer" in str(judge.verdict())
        assert "ok: the database answers" in str(judge.verdict())


def test_a_database_that_falls_silent_is_not_waited_for(plain_store, monkeypatch):
    """It takes what it is sent and does not answer."""
    monkeypatch.setattr(readiness, "ASK_S", 0.0)
    monkeypatch.setattr(readiness, "PATIENCE_S", 1)
    with (
        relayed(plain_store) as (relay, dsn),
        closing(readiness.Readiness(Consumer(dsn=dsn, host="127.0.0.1"))) as judge,
    ):
        assert "ok: the database answers" in str(judge.verdict())
        relay.hanging.set()
        assert "failed: the database does not answer" in str(judge.verdict())
        relay.hanging.clear()
        until(lambda: "ok: the database answers" in str(judge.verdict()))


def test_messages_that_wait_too_long_are_not_ready(plain_store, broker, monkeypatch):
    monkeypatch.setattr(readiness, "WAITS_S", 0.5)
    with consuming(plain_store, broker) as consumer, answering(consumer) as port, station(broker) as one:
        one.deliver([batch(samples(3), spool="w", seq=1)])
        until(lambda: asked(port, "/readyz")[0] == 200)
        with psycopg.connect(plain_store) as conn:
            conn.execute("LOCK TABLE message IN ACCESS EXCLUSIVE MODE")
            one.send(batch(samples(3), spool="w", seq=2))
            until(lambda: asked(port, "/readyz")[0] == 503)
            assert "failed: a message waits" in asked(port, "/readyz")[2]
            assert "the last" in asked(port, "/readyz")[2]
        until(lambda: asked(port, "/readyz")[0] == 200)


def test_a_thread_that_stands_still_is_not_alive():
    consumer = Consumer(**AWAY)
    assert readiness.alive(consumer, now=1000.0).well
    consumer.turned = 1000.0
    assert readiness.alive(consumer, now=1000.0 + readiness.TURNS_S).well
    assert str(readiness.alive(consumer, now=1061.0)) == (
        "failed: the broker's thread has not turned for 61 s: restart\n"
    )
    consumer.turned = time.monotonic() - 61
    with answering(consumer) as port:
        assert asked(port, "/healthz")[0] == 503


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "BREW"])
def test_nothing_but_get_is_answered(method):
    with answering() as port:
        status, headers, said = asked(port, "/healthz", method=method)
    assert (status, headers["Allow"]) == (405, "GET")
    assert said == ("" if method == "HEAD" else "only GET is answered\n")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9464", 200),
        ("[::1]:9464", 200),
        ("localhost", 200),
        ("ingest:9464", 200),  # a service of compose
        (socket.gethostname(), 200),
        ("ingest.example.org:9464", 200),
        ("INGEST.example.org.", 200),
        ("evil.example.com", 421),
        ("127.0.0.1.evil.example.com:9464", 421),
        ("a b", 400),
        ("x\x7f", 400),
        ("http://127.0.0.1", 400),
        ("<script>", 400),
        ("", 400),
    ],
)
def test_a_name_that_is_not_its_own_is_refused(host, status):
    with answering(names=["ingest.example.org"]) as port:
        said = raw(port, f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert said.split()[1] == str(status)
    assert host in {"", "a b"} or status == 200 or host not in said  # nothing of what was asked comes back


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /healthz HTTP/1.0\r\n\r\n", "200"),
        (b"GET /healthz?x=1 HTTP/1.1\r\nHost: a\r\n\r\n", "200"),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
        (b"GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", "404"),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", "414"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", "431"),
        (b"\x16\x03\x01\x02\x00\x01\xff\r\n\r\n", "400"),
    ],
)
def test_nonsense_is_answered_and_logged_nowhere(request_, status, capfd, caplog):
    with answering() as port:
        assert status in raw(port, request_).split("\r\n")[0]
        assert asked(port, "/")[::2] == (200, "skyledger ingest\n/metrics\n/healthz\n/readyz\n")
    assert capfd.readouterr() == ("", "")
    assert caplog.text == ""


def test_who_hangs_up_in_the_middle_costs_nothing():
    with answering() as port:
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", port)) as line:
                line.sendall(b"GET /metr")
        assert asked(port, "/healthz")[0] == 200


def test_figures_come_in_the_format_that_is_asked_for():
    with answering() as port:
        assert asked(port, "/metrics")[1]["Content-Type"].startswith("text/plain")
        _, headers, said = asked(port, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert said.endswith("# EOF\n")


def test_an_address_nobody_can_listen_at_is_said():
    with (
        pytest.raises(StoreError, match=r"metrics cannot be served at 203\.0\.113\.1:9464: "),
        endpoints.served(Consumer(**AWAY), "203.0.113.1", 9464),
    ):
        pass
