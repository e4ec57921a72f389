import socket
import termios
import threading
import time
from pathlib import Path

import pytest

from station_agent.__main__ import main
from station_agent.config import read_config
from station_agent.drivers.lines import MAX_LINE
from station_agent.errors import ConfigError
from station_agent.live import port
from station_agent.live.makers import Serial, Tcp
from tests.station_agent.fake_instrument import FakePicarro, FakeStream, PtyEnd, TcpEnd
from tests.station_agent.live_station import LiveStation, named
from tests.station_agent.picarro_live import TABLE, live_rows

MET = """
driver = "delimited"
poll = 0.05
columns = [{name = "T", quantity = "ambient_temperature", unit = "degC"}]
time = {columns = ["when"], format = "unix"}
"""
ROWS = [f"{1_700_000_000 + number},{number % 40}.25" for number in range(2000)]


def values(samples):
    return [row["ambient_temperature"] for _, row, _, _ in samples]


WHOLE = [number % 40 + 0.25 for number in range(2000)]


@pytest.fixture
def looks(tmp_path):
    """Return a source of an instrument's table, read until a condition holds; closed when the test ends."""
    opened = []

    def looks(table):
        source = LiveStation(tmp_path, table).source()
        opened.append(source)
        return source

    yield looks
    for source in opened:
        source.close()


def listen(source, condition, *, seconds=30):
    """Read a source until a condition holds; return samples and notices."""
    samples, notices = [], []
    deadline = time.monotonic() + seconds
    while not condition(samples, notices):
        assert time.monotonic() < deadline, f"not within {seconds} s: {notices}"
        reading = source.read(thorough=False)
        if reading is None:
            time.sleep(0.005)
            continue
        samples += reading.samples
        notices += reading.notices
    return samples, notices


def heard_of(event):
    return lambda _samples, notices: any(notice.event == event for notice in notices)


# --- streams ---------------------------------------------------------------------------------


def test_a_stream_with_its_header_arrives_complete(tmp_path):
    end = TcpEnd()
    cuts = {300: "cut", 301: "cut", 900: "cut", 1999: "cut"}
    with FakeStream(end, ROWS, preamble=b"when,T\r\n", cuts=cuts) as fake:
        station = LiveStation(tmp_path, MET + end.address)
        station.run(lambda: fake.connections == 5, samples=len(ROWS))
    samples, events = station.spooled()
    assert values(samples) == WHOLE
    # A half line may read as a whole one, but it has no end: it is never taken.
    assert named(events) == {"instrument_connected": 5, "instrument_lost": 4, "line_rejected": 4}
    halves = [event.detail for event in events if event.event == "line_rejected"]
    assert [half["text"] for half in halves] == [ROWS[cut] for cut in (300, 301, 900, 1999)]
    assert halves[0]["reason"] == "the connection ended in the middle of this line"
    assert halves[0]["file"] == f"tcp://127.0.0.1:{end.port}"


def test_the_header_is_remembered_over_a_restart_and_the_first_line_may_be_half(tmp_path):
    end = TcpEnd()
    station = LiveStation(tmp_path, MET + end.address)
    with FakeStream(end, ROWS[:50], preamble=b"when,T\r\n"):
        station.run(lambda: True, samples=50)
    with station.open_spool() as spool:
        positions = spool.positions("live")
    state = positions[f"tcp://127.0.0.1:{end.port}"]
    assert state["parser"]["header"] == "when,T"
    again = TcpEnd()
    positions = {f"tcp://127.0.0.1:{again.port}": state}
    station = LiveStation(tmp_path, MET + again.address)
    # What looks like a reading of 8.5 degrees may be the end of one of 18.5.
    with FakeStream(again, ["1700000050,8.5", *ROWS[51:60]]):
        source = station.source(positions)
        try:
            samples, notices = listen(source, lambda samples, _: len(samples) == 9)
        finally:
            source.close()
    assert samples[0].time_ns == 1_700_000_051 * 10**9
    kept = [notice.detail for notice in notices if notice.event == "line_rejected"]
    assert [(detail["text"], detail["header"]) for detail in kept] == [("1700000050,8.5", "when,T")]
    assert kept[0]["reason"] == "the connection may have begun in the middle of this line"
    # Under other options the state means nothing: the header is not taken for one.
    other = LiveStation(tmp_path, MET.replace('"degC"', '"K"') + again.address)
    assert other.source(positions)._dialogue.state()["parser"]["header"] is None
    assert station.source(positions)._dialogue.state()["parser"]["header"] == "when,T"


def test_a_stream_without_header_is_told_it(looks):
    end = TcpEnd()
    with FakeStream(end, ROWS[:20], preamble=b"99,1.0\r\n"):
        source = looks(MET + 'stream_header = "when,T"\n' + end.address)
        _, notices = listen(source, lambda samples, _: len(samples) == 20)
    assert [notice.event for notice in notices].count("line_rejected") == 1


@pytest.mark.parametrize("kind", ["tcp", "pty"])
def test_a_line_without_end_is_bounded(tmp_path, looks, kind):
    end = TcpEnd() if kind == "tcp" else PtyEnd(tmp_path)
    flood = b"x" * (MAX_LINE * 3) + b"\r\n"
    with FakeStream(end, ROWS[:20], preamble=b"when,T\r\n" + flood):
        source = looks(MET + end.address)
        _, notices = listen(source, lambda samples, _: len(samples) == 20)
    kept = [notice.detail for notice in notices if notice.event == "line_rejected"]
    assert [(detail["text"][:3], detail["reason"][:35]) for detail in kept] == [
        ("xxx", "the line is longer than 65536 bytes")
    ]
    assert source.remainder() == {}


def test_a_flood_to_a_picarro_is_bounded(looks):
    end = TcpEnd()
    flood = ["y" * (MAX_LINE * 3), *live_rows(0, 3)]
    with FakePicarro(end, flood):
        source = looks(TABLE + end.address)
        _, notices = listen(source, lambda samples, _: len(samples) == 3)
    kept = [notice.detail for notice in notices if notice.event == "line_rejected"]
    assert [detail["reason"] for detail in kept] == ["the line is longer than 65536 bytes"]


# --- what changes is told once ---------------------------------------------------------------


def test_nobody_listens_and_then_somebody_does(looks):
    end = TcpEnd()
    end.close()
    source = looks(MET + end.address)
    _, notices = listen(source, heard_of("instrument_lost"))
    failures = source._failures
    _, more = listen(source, lambda _samples, _notices: source._failures > failures + 5)
    assert (notices[0].detail["reason"], more) == ("no connection: Connection refused", [])
    end._listening = socket.create_server(("127.0.0.1", end.port))
    end._listening.settimeout(0.05)
    with FakeStream(end, ROWS[:5], preamble=b"when,T\r\n"):
        _, notices = listen(source, heard_of("instrument_connected"))
    assert [notice.event for notice in notices] == ["instrument_connected"]


@pytest.mark.parametrize("kind", ["tcp", "pty"])
def test_a_silent_instrument_is_told_once_and_so_is_its_return(tmp_path, looks, kind):
    end = TcpEnd() if kind == "tcp" else PtyEnd(tmp_path)
    # It hangs at the 3rd question and again at the first of each of the next two connections.
    with FakePicarro(
        end, live_rows(0, 300), plan=lambda number: "stall" if number in (3, 4, 5) else "", pace=10
    ) as fake:
        source = looks(TABLE + "silent = 0.4\n" + end.address)
        _, notices = listen(source, lambda samples, _: len(samples) >= 40)
        assert len(fake.questions) >= 7
        if kind == "pty":
            # The instrument's side stays open: what the kernel remembers keeps everybody but root out.
            assert end.taken
            source.close()
            assert not end.taken
    events = [notice.event for notice in notices if notice.event != "answer_cut"]
    # The port may not have been plugged in at the first look.
    assert events[-3:] == ["instrument_connected", "instrument_silent", "instrument_back"]
    assert events[:-3] in ([], ["instrument_lost"])


def test_noise_is_silence(looks):
    end = TcpEnd()
    with FakeStream(end, ["\x7f~~~"] * 50, preamble=b"when,T\r\n"):
        source = looks(MET + "silent = 0.3\n" + end.address)
        _, notices = listen(source, heard_of("instrument_silent"))
    assert notices[0].event == "instrument_connected"


def test_connecting_never_blocks(monkeypatch, looks):
    asked, answer = threading.Event(), threading.Event()

    def slowly(*_args, **_more):
        asked.set()
        assert answer.wait(30)
        raise OSError(0, "no such name")

    monkeypatch.setattr(port.socket, "create_connection", slowly)
    source = looks(MET + 'tcp = "far.example:1"')
    assert source.read(thorough=False) is None
    assert asked.wait(30)
    assert source.read(thorough=False) is None
    answer.set()
    _, notices = listen(source, heard_of("instrument_lost"))
    assert notices[0].detail == {"address": "tcp://far.example:1", "reason": "no connection: no such name"}


def test_giving_up_while_connecting_closes_what_comes_of_it():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        made = port.TcpPort(Tcp("127.0.0.1", listening.getsockname()[1]))
        made.close()
        there, _ = listening.accept()
        with there:
            there.settimeout(10)
            assert there.recv(1) == b""


# --- a Picarro's errors ----------------------------------------------------------------------


def test_errors_are_told_once_and_when_they_are_over(looks):
    end = TcpEnd()
    said = {**dict.fromkeys(range(3, 7), "3001"), 8: "1001", 9: "3002", 12: "1002"}
    with FakePicarro(end, live_rows(0, 400), plan=lambda number: said.get(number, ""), pace=10):
        source = looks(TABLE + end.address)
        _, notices = listen(source, lambda samples, _: len(samples) >= 100)
    told = [(notice.event, notice.detail.get("code")) for notice in notices]
    assert told == [
        ("instrument_connected", None),
        ("instrument_error", "3001"),
        ("instrument_error_over", "3001"),
        ("instrument_error", "1002"),
        ("instrument_error_over", "1002"),
    ]
    assert notices[1].detail["meaning"] == "measuring is disabled at the instrument"


def test_a_busy_instrument_is_told_of_when_it_stays_busy(looks):
    end = TcpEnd()
    with FakePicarro(end, live_rows(0, 4), plan=lambda _number: "1001") as fake:
        source = looks(TABLE + end.address)
        _, notices = listen(source, heard_of("instrument_error"))
        assert len(fake.questions) > 10
    assert notices[-1].detail["code"] == "1001"


def test_a_full_buffer_is_told(looks):
    end = TcpEnd()
    with FakePicarro(end, live_rows(0, 700), pace=600):
        source = looks(TABLE + end.address)
        samples, notices = listen(source, lambda samples, _: len(samples) == 512 + 100)
    assert samples[0].time_ns // 10**9 - 1_700_000_000 == 88
    full = [notice.detail for notice in notices if notice.event == "buffer_full"]
    assert [detail["rows"] for detail in full] == [512]


def test_the_newest_row_alone_is_not_taken_twice(looks):
    end = TcpEnd()
    with FakePicarro(end, live_rows(0, 3), pace=1) as fake:
        source = looks(TABLE + 'question = "_Meas_GetConc"\n' + end.address)
        samples, notices = listen(source, lambda _samples, _notices: len(fake.questions) > 6)
    assert (len(samples), {notice.event for notice in notices}) == (1, {"instrument_connected"})


# --- serial ports ----------------------------------------------------------------------------


def test_a_serial_port_is_set_as_the_maker_says(tmp_path, looks):
    end = PtyEnd(tmp_path)
    with FakePicarro(end, live_rows(0, 5), newline=b"\n\r") as fake:
        source = looks(TABLE + end.address)
        listen(source, lambda samples, _: len(samples) == 5)
        failures = source._failures
        # Nothing to read is not the end: asked again and again on the one connection.
        listen(source, lambda _samples, _notices: len(fake.questions) > 5)
        assert (fake.connections, source._failures) == (1, failures)
        incoming, outgoing, control, local, speed, _, _ = end.settings()
        assert fake.questions[0] == "_Meas_GetBuffer"
    assert (incoming, outgoing, local, speed) == (0, 0, 0, termios.B19200)
    assert control & termios.CSIZE == termios.CS8
    assert not control & (termios.PARENB | termios.CSTOPB)


def test_a_port_that_is_not_there_is_told_and_tried_again(tmp_path, looks):
    end = PtyEnd(tmp_path)
    source = looks(TABLE + end.address)
    _, notices = listen(source, heard_of("instrument_lost"))
    assert notices[0].detail["reason"] == "the port cannot be opened: No such file or directory"
    with FakePicarro(end, live_rows(0, 5), newline=b"\r"):
        listen(source, lambda samples, _: len(samples) == 5)


def test_something_else_than_a_port_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    tried = port.open_port(Serial(str(tmp_path / "file"), 9600, 8, "none", 1))
    assert tried.lost == "the port cannot be opened: Inappropriate ioctl for device"
    before = len([*Path("/proc/self/fd").iterdir()])
    port.open_port(Serial(str(tmp_path / "file"), 9600, 8, "none", 1))
    assert len([*Path("/proc/self/fd").iterdir()]) == before


# --- the configuration -----------------------------------------------------------------------


FILES_ONLY = (
    "instrument[1].serial: what instruments of driver 'licor850' say live is not what their files hold; "
    "give path and follow their files"
)


def faults(folder, table):
    with pytest.raises(ConfigError) as caught:
        LiveStation(folder, table)
    return [line.split(": ", 1)[1] for line in str(caught.value).splitlines()]


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        (TABLE, "instrument[1].path: missing, driver 'picarro' reads files; or say tcp or serial to read it live"),
        (TABLE + 'path = "x"\ntcp = "a"', "instrument[1].tcp: path is given too, expected one of path, tcp, serial"),
        (
            TABLE + 'serial = "x"\ntcp = "a"',
            "instrument[1].serial: tcp is given too, expected one of path, tcp, serial",
        ),
        (
            TABLE + 'tcp = "a:b"',
            "instrument[1].tcp: got 'a:b', expected host or host:port (without one, 51020)",
        ),
        (MET + 'tcp = "a"', "instrument[1].tcp: got 'a', expected host:port"),
        (MET + 'tcp = "a:70000"', "instrument[1].tcp: got 'a:70000', expected host:port"),
        (MET + 'tcp = "a:1"\nbaud = 9600', "instrument[1].baud: belongs to a serial port, and there is no key serial"),
        (
            MET + 'path = "x"\nstream_header = "a"',
            "instrument[1].stream_header: belongs to a live stream, and there is no key tcp or serial",
        ),
        (
            MET + 'serial = "x"\nparity = "odt"',
            "instrument[1].parity: got 'odt', expected one of 'none', 'even', 'odd'",
        ),
        (
            'driver = "licor850"\ntime_zone = "UTC"\nserial = "x"',
            FILES_ONLY,
        ),
        ('driver = "simulated"\ntcp = "a:1"', "instrument[1].tcp: driver 'simulated' has no connection, leave it out"),
        (
            MET.replace("poll = 0.05", "poll = 1") + 'tcp = "a:1"\nsilent = 0.1',
            "instrument[1].silent: got 0.1, expected more than the poll of 1 s",
        ),
    ],
)
def test_faults_of_a_connection(tmp_path, table, fault):
    assert faults(tmp_path, table) == [fault]


def test_two_instruments_at_one_port(tmp_path):
    second = f'[[instrument]]\nname = "other"\n{MET}serial = "/dev/ttyS9"\nbaud = 9600'
    assert faults(tmp_path, f'{MET}serial = "/dev/ttyS9"\n{second}') == [
        "instrument[2]: serial:/dev/ttyS9 is what another instrument is read from too, expected its own"
    ]


def test_a_port_that_is_not_allowed_is_said_with_what_to_do(monkeypatch):
    def refuse(*_args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(port.os, "open", refuse)
    lost = port.open_port(Serial("/dev/ttyS0", 9600, 8, "none", 1)).lost
    assert lost.startswith("the port cannot be opened: Permission denied; the agent's user must be in the group")


def test_faults_of_a_picarros_connection(tmp_path):
    bare = 'driver = "picarro"\ntcp = "a"\n'
    missing = "missing, the instrument does not say what its buffer holds; name it in order, as in"
    assert faults(tmp_path, bare) == [f"instrument[1].columns: {missing} ['time', 'CO2', 'CH4', 'H2O', 'species']"]
    table = TABLE.replace("poll = 0.05", "poll = 60")
    assert faults(tmp_path, table + 'tcp = "a"') == [
        "instrument[1].poll: got 60, expected at most 51: the instrument keeps 512 rows and measures 10 a second (rate)"
    ]
    assert LiveStation(tmp_path, table + 'tcp = "a"\nrate = 1').instrument.poll == 60
    quantities = (
        "CO2, CH4, H2O, h2o_reported, CO2_dry, CH4_dry, CavityPressure, CavityTemp, DasTemp, OutletValve, "
        "Battery_Voltage"
    )
    wrong = bare + 'columns = ["Time", "co2", "species", "species"]\ntime_zone = "Mars"'
    assert faults(tmp_path, wrong) == [
        "instrument[1].columns[1]: got 'Time', did you mean 'time'?",
        "instrument[1].columns[2]: got 'co2', did you mean 'CO2'?",
        "instrument[1].columns[4]: 'species' is named twice",
        "instrument[1].columns: the stamp is missing, expected 'time' where it stands in the buffer",
        f"instrument[1].columns: no quantity is among them, known are {quantities}",
        "instrument[1].time_zone: got 'Mars', expected UTC, an offset like +08:00 or a name like Asia/Shanghai",
    ]


def test_check_says_what_an_instrument_is_connected_to(tmp_path, capsys):
    tables = {
        TABLE
        + 'tcp = "192.0.2.7"': "instrument live (picarro): tcp://192.0.2.7:51020, asked _Meas_GetBuffer every 0.05 s; "
        "connected anew after 120 s of silence",
        TABLE.replace('"species", ', "")
        + 'serial = "/dev/ttyUSB0"\n': "instrument live (picarro): serial:/dev/ttyUSB0 "
        "19200 8N1, asked _Meas_GetBuffer every 0.05 s; note: without the column species every row counts as new for "
        "every gas; connected anew after 120 s of silence",
        MET + 'serial = "/dev/ttyS0"\nbaud = 1200\nparity = "even"\nbits = 7\nstop = 2': "instrument live (delimited): "
        "serial:/dev/ttyS0 1200 7E2, listened to; connected anew after 120 s of silence",
        MET + 'tcp = "[::1]:7"': "instrument live (delimited): tcp://[::1]:7, listened to; "
        "connected anew after 120 s of silence",
    }
    for table, said in tables.items():
        station = LiveStation(tmp_path, table)
        assert main(["check", "--config", str(station.file)]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == said


def test_the_makers_poll_holds_where_none_is_set(tmp_path):
    station = LiveStation(tmp_path, TABLE.replace("poll = 0.05\n", "") + 'tcp = "a"')
    assert read_config(station.file).instruments[0].poll == 5.0
    assert station.source().instrument.poll == 0.25
