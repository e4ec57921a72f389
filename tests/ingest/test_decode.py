import json
import math
import random
import zlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingest import decode, mends
from ingest.decode import Columns
from ingest.mends import Mend
from station_agent import wire
from station_agent.errors import WireError
from station_agent.sample import Sample
from station_agent.wire import Event, Kind
from tests.ingest.payloads import NOW, START, batch, event, message, mutated, said, samples


def by_wire(payload):
    """What the agent's own decoder makes of a payload, in the same form, or its sentence."""
    try:
        got = wire.decode(payload)
    except WireError as error:
        return str(error)
    if isinstance(got, Event):
        return got
    values = {name: [None if v is None else float(v) + 0.0 for v in column] for name, column in got.q.items()}
    states = list(zip(got.port, got.status, got.mark, strict=True))
    return got.spool, got.seq, got.t, values, states


def by_ingest(payload):
    try:
        got = decode.read(payload)
    except WireError as error:
        return str(error)
    if isinstance(got.body, Event):
        return got.body
    c = got.body
    values = {
        name: [None if math.isnan(v) else v for v in row.tolist()]
        for name, row in zip(c.quantities, c.values, strict=True)
    }
    return got.spool, got.seq, c.t.tolist(), values, [tuple(c.states[i]) for i in c.state]


numbers = st.one_of(
    st.none(),
    st.floats(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([10**400, -0.0, 2**63, True, "1", 1e308, 5e-324]),
)
whole = st.one_of(st.integers(-(2**65), 2**65), st.sampled_from([None, 1.0, True, "7", 0, 2**63 - 1]))
text = st.one_of(st.none(), st.text(max_size=5), st.sampled_from([1, "\0", "1", "moving", []]))
names = st.one_of(st.sampled_from(["co2", "ch4", "CO2", "", "x" * 64]), st.text(max_size=4))


def column(entries, size):
    usual = st.lists(entries, min_size=size, max_size=size)
    return st.one_of(usual, usual, usual, st.lists(entries, max_size=4), st.sampled_from([None, {}, 3]))


@st.composite
def documents(draw):
    size = draw(st.integers(0, 4))
    tame = draw(st.booleans())
    time = st.integers(-(2**62), 2**62) if tame else whole
    value = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False), st.integers()) if tame else numbers
    document = {
        "v": draw(st.sampled_from([1, 1, 1, 1, 2, 1.0, True, "1", None])),
        "spool": draw(st.one_of(st.text(max_size=8), st.sampled_from([None, 3]))),
        "seq": draw(st.one_of(st.integers(1, 10), st.sampled_from([0, -1, 2**63, 1.0, True, None, "1"]))),
        "t": draw(column(time, size)),
        "q": draw(st.one_of(st.dictionaries(names, column(value, size), max_size=3), st.sampled_from([None, [], 1]))),
    }
    for key, entries in (("port", text), ("status", whole), ("mark", whole)):
        if draw(st.booleans()):
            document[key] = draw(column(entries, size))
    for key in draw(st.sets(st.sampled_from([*document, "extra"]), max_size=1)):
        document.pop(key, None) if key in document else document.__setitem__("extra", [1])
    if draw(st.integers(0, 9)) == 0:
        document |= {"event": "x", "detail": {}, "t": draw(whole)}
    raw = json.dumps(document, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    return zlib.compress(raw) if draw(st.booleans()) else raw


@settings(max_examples=500, deadline=None)
@given(documents())
@example(b"")
@example(b"{}")
@example(b'{"v":1,"spool":"\xff","seq":1,"t":[1],"q":{}}')
@example(b'{"v":1,"spool":"a","seq":1,"t":[1],"q":{"co2":[01]}}')
@example(b'{"v":1,"spool":"a","seq":1,"t":[1],"q":{"co2":[1],"co2":[2]}}')
@example('{"v":1,"spool":"a","seq":1,"t":[1],"q":{"co2":[1]}}'.encode("utf-16-le"))
@example(b'{"v":1,"spool":"\\ud800","seq":1,"t":[1],"q":{"co2":[-0.0]}}')
@example(b"[" * 100_000)
def test_accepts_what_the_agents_decoder_accepts_with_the_same_values_and_sentences(payload):
    assert by_ingest(payload) == by_wire(payload)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_the_same_for_any_bytes(payload):
    assert by_ingest(payload) == by_wire(payload)


def test_the_same_for_mutated_payloads():
    rng = random.Random(1)
    short, long = batch(samples(2)), batch(samples(60))
    for _ in range(3000):
        payload = mutated(short if rng.random() < 0.7 else zlib.decompress(long), rng)
        assert by_ingest(payload) == by_wire(payload), payload


def test_columns_hold_what_was_sent():
    rows = samples(3)
    rows[1].values["co2"] = math.nan
    rows[2] = Sample(rows[2].time_ns, {"co2": 1.5}, port=None, status=None, mark=2)
    got = said(batch(rows))
    c = got.columns
    assert got.reason is None
    assert (got.spool, got.seq, got.t_from, got.t_to) == ("s", 1, START * 1000, (START + 2) * 1000)
    assert c.t.tolist() == [START * 1000 + 1000 * i for i in range(3)]
    np.testing.assert_array_equal(c.values[c.quantities.index("co2")], [400.0, math.nan, 1.5])
    assert c.states == (("1", 963, 0), (None, None, 2))
    assert c.state.tolist() == [0, 0, 1]
    assert c.count == 8


def test_negative_zero_is_zero():
    c = said(batch([Sample(START * 10**9, {"co2": -0.0})])).columns
    assert math.copysign(1, c.values[0, 0]) == 1


HOSTILE = {
    "zip bomb": (zlib.compress(b" " * 40_000_000, 9), "unpacks to more than"),
    "broken zlib": (batch(samples())[:-3], "cut short"),
    "neither": (b"\0\1\2", "neither JSON nor zlib"),
    "empty": (b"", "cut short"),
    "a list": (b"{}", "version None"),
    "unknown quantity": (batch([Sample(START * 10**9, {"radon": 1.0})]), "'radon' is not known"),
    "year 1900": (batch([Sample(-2_208_988_800 * 10**9, {"co2": 1.0})]), "1900-01-01T00:00:00.000Z is before 2000"),
    "year 2500": (batch([Sample(16_725_225_600 * 10**9, {"co2": 1.0})]), "ahead of the server's clock"),
    "end of time": (b'{"v":1,"spool":"s","seq":1,"t":[9223372036854775807],"q":{"co2":[1]}}', "ahead of the server"),
    "beginning": (b'{"v":1,"spool":"s","seq":1,"t":[-9223372036854775808],"q":{"co2":[1]}}', "before 2000-01-01"),
    "NaN": (b'{"v":1,"spool":"s","seq":1,"t":[1],"q":{"co2":[NaN]}}', "not finite"),
    "port with NUL": (batch([Sample(START * 10**9, {"co2": 1.0}, port="a\0")]), "port 'a\\x00'"),
    "port without end": (batch([Sample(START * 10**9, {"co2": 1.0}, port="1" * 5000)]), "over 200 characters"),
    "spool with NUL": (batch(samples(1), spool="a\0b"), "spool id 'a\\x00b'"),
    "spool with half a character": (
        b'{"v":1,"spool":"\\ud800","seq":1,"t":[%d],"q":{}}' % (START * 1000),
        "spool id '\\ud800'",
    ),
    "too many days": (
        batch([Sample((START - 86400 * i) * 10**9, {"co2": 1.0}) for i in range(500)]),
        "500 different days",
    ),
    "an event among data": (event(), "event 'maintenance' came under a topic of kind data"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_cannot_be_stored_says_why_in_a_sentence_the_database_can_hold(name):
    payload, part = HOSTILE[name]
    got = said(payload)
    assert part in got.reason
    assert got.columns is None
    assert decode.storable(got.reason[:200])
    assert len(got.reason) <= decode.MAX_REASON


def test_batch_under_an_event_topic_and_event_without_a_good_name():
    assert "under a topic of kind event" in said(batch(samples()), kind=Kind.EVENT).reason
    assert "event 'a\\x00' has" in said(event("a\0"), kind=Kind.EVENT).reason


def test_a_rejected_line_says_file_line_and_reason():
    detail = {"driver": "picarro", "file": "a.dat", "line": 7, "text": "x\0", "reason": "no \0 number"}
    got = said(event("line_rejected", detail=detail), kind=Kind.EVENT)
    assert got.reason == "a.dat line 7: no ␀ number"
    assert got.t_from == START * 1000


@pytest.mark.parametrize("station", ["Lin An", "x'; DROP TABLE message; --", "林安", "a\0", "s" * 60_000])
def test_stations_of_any_name_are_kept_under_one_the_database_can_hold(station):
    got = said(batch(samples()), station=station)
    assert "is not a valid name" in got.reason
    assert decode.storable(got.message.station)
    other = said(batch(samples()), station=station + "x")
    assert other.message.station != got.message.station


def test_mends_are_applied_in_order():
    raw = json.dumps({"v": 1, "spool": "s", "seq": 1, "t": [START * 1000], "q": {"CO2": [400.5]}}).encode()
    came = message(raw, station="linan")
    assert "not a valid name" in decode.contents(came, now_ms=NOW).reason
    corrections = [
        Mend("me", "now", "typo", {"rename": {"CO2": "ch4"}}),
        Mend("me", "now", "typo", {"station": "nowhere"}),
        Mend("me", "now", "typo", {"rename": {"ch4": "co2"}, "station": "lin-an", "instrument": "li850"}),
    ]
    got = decode.contents(came, now_ms=NOW, mends=corrections)
    assert (got.reason, got.station, got.instrument, got.columns.quantities) == (None, "lin-an", "li850", ("co2",))
    assert Mend.read(corrections[0].document()) == corrections[0]


def test_a_payload_can_be_replaced_and_an_event_become_a_batch():
    came = message(event("line_rejected", detail={"file": "f", "line": 1, "reason": "r"}), kind=Kind.EVENT)
    mend = Mend("me", "now", "why", mends.replaced(batch(samples(2))))
    got = decode.contents(came, now_ms=NOW, mends=[mend])
    assert got.reason is None
    assert isinstance(got.body, Columns)


def test_renaming_to_a_name_that_is_taken_keeps_it_aside():
    came = message(batch(samples(1, names=("co2", "ch4"))))
    got = decode.contents(came, now_ms=NOW, mends=[Mend("me", "now", "why", {"rename": {"co2": "ch4"}})])
    assert "cannot be renamed to 'ch4'" in got.reason


def mended(came, what):
    return decode.contents(came, now_ms=NOW, mends=[Mend("me", "now", "why", what)])


def test_values_in_another_unit_and_times_of_a_clock_that_was_not_set():
    rows = [Sample((k + 1) * 10**9, {"CH4": 1.9 + k, "cavity_temperature": 318.15}) for k in range(2)]
    came = message(batch(rows))
    assert "before 2000" in mended(came, {"rename": {"CH4": "ch4"}}).reason
    what = {"rename": {"CH4": "ch4"}, "unit": {"ch4": "ppm", "cavity_temperature": "K"}, "shift": START - 0.5}
    got = mended(came, what)
    assert got.reason is None
    assert got.columns.t.tolist() == [START * 1000 + 500, START * 1000 + 1500]
    np.testing.assert_allclose(got.columns.values, [[1900.0, 2900.0], [45.0, 45.0]])
    late = message(event("valve", at=10), kind=Kind.EVENT)
    assert mended(late, {"shift": START}).t_from == (START + 10) * 1000


@pytest.mark.parametrize(
    ("payload", "what", "reason"),
    [
        (batch(samples(1, names=("co2",))), {"unit": {"ch4": "ppm"}}, "'ch4' is not in the payload, which has co2"),
        (batch(samples(1, names=("co2",))), {"unit": {"co2": "hPa"}}, "co2 cannot be in 'hPa', known are"),
        (zlib.compress(b"[]"), {"shift": 1.0}, "payload is no object that could be mended"),
        (b'{"v": 1}', {"shift": 1.0}, "payload has no times to shift"),
        (b'{"v": 1}', {"unit": {"co2": "ppm"}}, "payload has no quantities to mend"),
    ],
)
def test_a_mend_that_does_not_fit_keeps_it_aside(payload, what, reason):
    assert reason in mended(message(payload), what).reason
