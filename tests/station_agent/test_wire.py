import contextlib
import json
import math
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from station_agent import wire
from station_agent.config import MAX_BATCH
from station_agent.drivers.quantities import UNITS
from station_agent.errors import WireError
from station_agent.sample import Sample

SPOOL = "5c9f3a4e-0d7d-4d27-9f0e-6a8f8a3b7a11"
names = st.from_regex(wire.NAME, fullmatch=True)
printable = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
samples = st.builds(
    Sample,
    time_ns=st.integers(0, 4 * 10**12).map(lambda ms: ms * 10**6),
    values=st.dictionaries(names, st.floats(), max_size=4),
    port=st.none() | printable,
    status=st.none() | st.integers(-(2**63), 2**63 - 1),
    mark=st.integers(0, 7),
)


def finite(value):
    return value if value is not None and math.isfinite(value) else None


@given(rows=st.lists(samples, min_size=1, max_size=90), seq=st.integers(1, 2**62))
def test_a_batch_comes_back_as_it_was(rows, seq):
    batch = wire.decode_batch(wire.encode_batch(rows, spool=SPOOL, seq=seq))
    assert (batch.spool, batch.seq) == (SPOOL, seq)
    assert batch.t == [row.time_ns // 10**6 for row in rows]
    assert batch.port == [row.port for row in rows]
    assert batch.status == [row.status for row in rows]
    assert batch.mark == [row.mark for row in rows]
    assert batch.q.keys() == {name for row in rows for name in row.values}
    for name, column in batch.q.items():
        assert column == [finite(row.values.get(name)) for row in rows]


@given(
    name=printable,
    time_ms=st.integers(0, 4 * 10**12),
    detail=st.dictionaries(printable, printable | st.none() | st.integers(-(2**53), 2**53)),
)
def test_an_event_comes_back_as_it_was(name, time_ms, detail):
    payload = wire.encode_event(name, spool=SPOOL, seq=3, time_ns=time_ms * 10**6, detail=detail)
    assert wire.decode(payload) == wire.Event(SPOOL, 3, time_ms, name, detail)


@given(rows=st.lists(samples, min_size=1, max_size=30))
def test_reencoding_changes_number_and_digest_only(rows):
    old = wire.encode_batch(rows, spool=SPOOL, seq=9)
    new = wire.reencode(old, spool="other", seq=1)
    before, after = wire.decode_batch(old), wire.decode_batch(new)
    assert (after.spool, after.seq) == ("other", 1)
    assert (after.t, after.q, after.port, after.status) == (before.t, before.q, before.port, before.status)
    assert wire.digest(new) != wire.digest(old)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
almost = st.fixed_dictionaries(
    {},
    optional={
        "v": st.just(1) | json_values,
        "spool": st.just(SPOOL) | json_values,
        "seq": st.just(1) | json_values,
        "t": st.just([1, 2]) | json_values,
        "q": st.just({"co2": [1, None]}) | st.dictionaries(names, json_values, max_size=2) | json_values,
        "port": st.just(["a", None]) | json_values,
        "mark": json_values,
        "event": json_values,
        "detail": json_values,
    },
)


@given(payload=st.binary(max_size=300) | almost.map(lambda d: json.dumps(d).encode()))
@example(b"[" * 5000)
@example(b'{"v":' + b"9" * 5000 + b"}")
@example(zlib.compress(b" " * 100))
@example("{".encode("utf-16"))
def test_arbitrary_bytes_raise_nothing_but_wire_errors(payload):
    for variant in (payload, zlib.compress(payload), zlib.compress(payload)[:-1]):
        with contextlib.suppress(WireError):
            assert isinstance(wire.decode(variant), wire.Batch | wire.Event)


@given(payload=st.binary(max_size=100) | json_values.map(lambda value: json.dumps(value).encode()))
@example(b"[" * 5000)
def test_arbitrary_acknowledgements_raise_nothing_but_wire_errors(payload):
    with contextlib.suppress(WireError):
        assert all(isinstance(item.outcome, wire.Outcome) for item in wire.decode_acknowledgements(payload))


def test_a_payload_that_unpacks_without_end_is_refused():
    bomb = zlib.compress(b" " * (wire.MAX_DECODED + 1))
    with pytest.raises(WireError, match="unpacks to more than"):
        wire.decode(bomb)


def test_acknowledgements_come_back():
    items = [
        wire.Acknowledgement(3, wire.digest(b"3"), wire.Outcome.STORED),
        wire.Acknowledgement(None, wire.digest(b"?"), wire.Outcome.ASIDE),
    ]
    assert wire.decode_acknowledgements(wire.encode_acknowledgements(items)) == items


def test_what_only_a_newer_server_says_leaves_the_rest_of_an_acknowledgement():
    known = wire.digest(b"3")
    rows = [[2, wire.digest(b"2"), "thinned"], [3, known, "stored"], [4, "\ud800", "stored"], [5, "short", "stored"]]
    payload = json.dumps(rows).encode()
    assert wire.decode_acknowledgements(payload) == [wire.Acknowledgement(3, known, wire.Outcome.STORED)]


def test_a_batch_that_nobody_would_decode_is_refused():
    values = {f"q{i}": 2 / 3 for i in range(100)}
    samples = [Sample(i * 10**9, values) for i in range(10_000)]
    with pytest.raises(WireError, match="make smaller batches"):
        wire.encode_batch(samples, spool="s", seq=1)


def test_the_largest_batch_of_a_configuration_is_decoded():
    values = dict.fromkeys(UNITS, -1 / 3 * 1e-100)
    samples = [Sample(i * 10**9, values, "\N{EARTH GLOBE EUROPE-AFRICA}" * 64, 2**62) for i in range(MAX_BATCH)]
    assert len(wire.decode_batch(wire.encode_batch(samples, spool="s", seq=1)).t) == MAX_BATCH


@pytest.mark.parametrize("topic", ["skyledger/v1/a/b/status", "skyledger/v2/a/b/data", "x", "skyledger/v1/a/data/b/c"])
def test_other_topics_are_refused(topic):
    with pytest.raises(WireError, match="is none of skyledger's"):
        wire.parse_topic(topic)
