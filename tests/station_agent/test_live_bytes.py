"""Whatever comes over a connection, in whatever pieces: no crash, and nothing silently dropped."""

from hypothesis import given, settings
from hypothesis import strategies as st

from station_agent.config import Instrument
from station_agent.drivers.lines import Parsed
from station_agent.live.makers import Connection, Serial, Tcp
from station_agent.live.picarro import Questions
from station_agent.live.stream import Stream
from tests.station_agent.live_station import flat
from tests.station_agent.picarro_live import OPTIONS, live_rows

MET = {
    "columns": [{"name": "T", "quantity": "ambient_temperature", "unit": "degC"}],
    "time": {"columns": ["when"], "format": "unix"},
}
PIECES = st.lists(st.integers(1, 400), min_size=1, max_size=40)
ROWS = live_rows(0, 30)
ANSWER = "".join(f"{line}\r\n" for line in [f"{len(ROWS)};", *ROWS]).encode()
LINES = "".join(f"{line}\r\n" for line in ["when,T", *(f"{1_700_000_000 + n},{n}.5" for n in range(30))]).encode()


def questions():
    connection = Connection(Tcp("127.0.0.1", 1), 120.0, "")
    return Questions(Instrument("live", "picarro", "", 5.0, OPTIONS, connection), None)


def stream():
    connection = Connection(Serial("/dev/null", 9600, 8, "none", 1), 120.0, "")
    return Stream(Instrument("live", "delimited", "", 1.0, MET, connection), None)


def say(dialogue, data, pieces):
    """Return what a dialogue makes of some bytes that come in pieces."""
    heard = Parsed()
    events = []

    def add(more):
        heard.samples += more.parsed.samples
        heard.asides += more.parsed.asides
        heard.lines += more.parsed.lines
        events.extend(more.events)

    add(dialogue.begin())
    dialogue.question(0.0)
    at, number = 0, 0
    while at < len(data):
        size = pieces[number % len(pieces)]
        add(dialogue.feed(data[at : at + size]))
        at, number = at + size, number + 1
    add(dialogue.end("the test is over"))
    return heard, events


@given(PIECES)
def test_an_answer_in_pieces_is_the_same_answer(pieces):
    heard, events = say(questions(), ANSWER, pieces)
    assert flat(heard.samples) == flat(say(questions(), ANSWER, [10_000])[0].samples)
    assert (len(heard.samples), heard.asides, events) == (30, [], [])


@given(PIECES)
def test_a_stream_in_pieces_is_the_same_stream(pieces):
    heard, _ = say(stream(), LINES, pieces)
    assert (len(heard.samples), heard.asides, heard.lines) == (30, [], 31)


damage = st.lists(st.tuples(st.integers(0, len(ANSWER) - 1), st.binary(max_size=3)), max_size=5)


@settings(max_examples=200)
@given(damage, st.integers(0, len(ANSWER)), PIECES)
def test_a_damaged_answer_is_taken_kept_aside_or_told_lost(damage, end, pieces):
    data = bytearray(ANSWER)
    for at, instead in damage:
        data[at : at + 1] = instead
    heard, events = say(questions(), bytes(data[:end]), pieces)
    assert len(heard.samples) + len(heard.asides) == heard.lines
    for _, detail in events:
        if detail.get("announced"):
            assert detail["received"] + detail["lost"] == detail["announced"]
            assert detail["received"] <= heard.lines


@settings(max_examples=200)
@given(st.binary(max_size=2000), PIECES)
def test_noise_is_kept_aside(noise, pieces):
    for dialogue in (questions(), stream()):
        heard, _ = say(dialogue, noise, pieces)
        assert heard.lines >= len(heard.samples) + len(heard.asides)
