import json
import random
from datetime import timedelta

import pytest

from station_agent.drivers import make_parser, parse_line, read_file
from station_agent.sources import FiniteFiles
from tests.station_agent.conftest import wait_until
from tests.station_agent.fake_instrument import FakePicarro, PtyEnd, TcpEnd
from tests.station_agent.live_station import LiveStation, flat, named
from tests.station_agent.picarro_live import COLUMNS, OPTIONS, START, TABLE, live_row, live_rows, log_text

DAY = 86_400


@pytest.fixture(params=["tcp", "pty"])
def end(request, tmp_path):
    """The instrument's side of a connection; commands end as the maker says for each."""
    end = TcpEnd() if request.param == "tcp" else PtyEnd(tmp_path)
    end.newline = b"\r\n" if request.param == "tcp" else b"\r"
    return end


def logged(folder, first, last, options=OPTIONS):
    """Return what the instrument's own log says about the measurements first ... last - 1."""
    path = folder / "DataLog_User_day.dat"
    path.write_text(log_text(first, last))
    return flat(read_file(path, "picarro", options=options))


def picarro(end, rows, **more):
    return FakePicarro(end, rows, newline=end.newline, **more)


# --- live and log say the same ---------------------------------------------------------------


@pytest.mark.parametrize("form", [{}, {"guide": True}, {"ahead": timedelta(hours=8)}])
def test_live_rows_and_the_log_give_the_same_samples(tmp_path, form):
    options = {**OPTIONS, "time_zone": "+08:00" if "ahead" in form else "UTC"}
    parser = make_parser("picarro", options)
    parser.restore({**parser.state(), "header": ";".join(COLUMNS)})
    live = [
        sample for number, row in enumerate(live_rows(0, 5000, **form)) for sample in parser.feed(row, number=number)
    ]
    assert flat(live) == logged(tmp_path, 0, 5000, options)
    # The rule is needed: by EPOCH_TIME half the stamps are another ms; without rounding the values are others.
    assert sum(a[0] != b[0] for a, b in zip(flat(live), logged(tmp_path, 0, 5000, {}), strict=True)) > 2000
    assert {name for _, values, _, _ in flat(live)[:3] for name in values} == {"co2", "ch4", "h2o", "cavity_pressure"}
    assert [sorted(values) for _, values, _, _ in flat(live)[:2]] == [
        ["cavity_pressure", "co2"],
        ["cavity_pressure", "ch4"],
    ]


def test_the_log_is_read_as_ever_where_nothing_is_live(shared):
    path = shared / "data/instruments/picarro_g2301_hour.dat"
    samples = list(read_file(path, "picarro"))
    live = list(read_file(path, "picarro", options={"columns": ["time", "CO2", "species"], "decimals": 12}))
    back = [(a.time_ns - b.time_ns) // 10**6 for a, b in zip(samples, live, strict=True)]
    assert (back.count(0), back.count(1)) == (1863, 1755)
    assert [s.values["co2"] for s in live if s.values] == [s.values["co2"] for s in samples if "co2" in s.values]


def test_a_stamp_before_each_value_is_read_past():
    """As older software of the maker writes the buffer."""
    columns = ["time", "CO2", "time", "CH4", "time", "species"]
    parser = make_parser("picarro", {"columns": columns})
    parser.restore({**parser.state(), "header": ";".join(columns)})
    stamp = "2023-11-14 22:13:20.7"
    [sample] = parser.feed(f"{stamp};420.125;{stamp};1.950;{stamp};2.000;", number=1)
    assert (sample.time_ns, sample.values) == (START * 10**9 + 700_000_000, {"ch4": 1950.0})


def test_epoch_time_in_the_buffer_is_the_time_of_both(shared):
    path = shared / "data/instruments/picarro_g2301.dat"
    stamps = [sample.time_ns for sample in read_file(path, "picarro")]
    live = read_file(path, "picarro", options={"columns": ["time", "EPOCH_TIME", "CO2"]})
    assert [sample.time_ns for sample in live] == stamps


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("15/13/31 17:18:40.948;1;2;3;4;1;1;963", "column time is '15/13/31 17:18:40.948', expected a stamp like"),
        ("15/08/31 17:18:40.948;1;2", "3 fields, the header has 8"),
        ("15/08/31 17:18:40.948;x;2;3;4;1;1;963", "column CO2 is 'x', expected a number"),
        ("85/08/31 17:18:40.948;1;2;3;4;2000;1;963", "column species"),
    ],
)
def test_a_damaged_live_row_is_kept_aside_and_can_be_mended(row, reason):
    parser = make_parser("picarro", OPTIONS)
    parser.restore({**parser.state(), "header": ";".join(COLUMNS)})
    if "species" not in reason:
        assert parser.feed(row, number=1).reason.startswith(reason)
    detail = {"driver": "picarro", "options": OPTIONS, "header": ";".join(COLUMNS), "line": 1}
    assert parse_line(live_row(0), detail)[0].time_ns // 10**6 == START * 1000


# --- over a connection -----------------------------------------------------------------------


def test_a_day_arrives_complete_through_disconnects(tmp_path, end):
    draw = random.Random(3)
    plan = {number: draw.choice(["cut", "1001", "3002", "garbage"] + 8 * [""]) for number in range(3, 200)}
    with picarro(end, live_rows(0, DAY), plan=lambda number: plan.get(number, ""), pace=500) as fake:
        station = LiveStation(tmp_path, TABLE + end.address)
        station.run(answered(fake))
        assert fake.sent == DAY
        assert fake.connections > 5
    samples, events = station.spooled()
    assert samples == logged(tmp_path, 0, DAY)
    noise = [event.detail["reason"] for event in events if event.event == "line_rejected"]
    assert len(noise) > 5
    assert set(noise) == {"byte 1 (0xff) is not utf-8"}
    assert set(named(events)) == {"line_rejected", "instrument_connected", "instrument_lost", "answer_cut"}
    # Asked, and no answer began: it might have been emptied. Here it was not.
    assert {event.detail["lost"] for event in events if event.event == "answer_cut"} == {None}


def answered(fake):
    """Return whether all was given away, and taken: it has been asked for more since."""
    given = []

    def taken():
        if fake.exhausted and not given:
            given.append(len(fake.questions))
        return bool(given) and len(fake.questions) > given[0]

    return taken


def test_what_an_answer_lost_is_told_and_the_log_fills_it(tmp_path, end):
    with picarro(end, live_rows(0, 5000), plan=lambda number: "cut answer" if number in (3, 6) else "") as fake:
        station = LiveStation(tmp_path, TABLE + end.address)
        station.run(answered(fake))
        lost = len(fake.lost)
    samples, events = station.spooled()
    whole = logged(tmp_path, 0, 5000)
    assert lost > 200
    assert len(samples) == 5000 - lost
    cuts = [event.detail for event in events if event.event == "answer_cut"]
    assert sum(cut["lost"] for cut in cuts) == lost
    assert [cut["announced"] for cut in cuts] == [400, 400]
    halves = [event.detail for event in events if event.event == "line_rejected"]
    assert {half["reason"] for half in halves} == {"the connection ended in the middle of this line"}
    # Replay of the log: the same samples where there were some, the others where there were none.
    source = FiniteFiles(station.instrument, [tmp_path / "DataLog_User_day.dat"])
    replayed = []
    while (reading := source.read(thorough=False)) is not None:
        replayed += flat(reading.samples)
    assert replayed == whole
    there = {sample[0]: sample for sample in replayed}
    assert all(there[sample[0]] == sample for sample in samples)


def test_the_command_reads_it_and_delivers(station, receiver, ended):
    with FakePicarro(TcpEnd(), live_rows(0, 300)) as fake:
        station.configure(instruments=f'[[instrument]]\nname = "g2301"\n{TABLE}{fake.end.address}\n')
        agent = station.start("run")
        wait_until(lambda: sum(name == "cavity_pressure" for _, name, _ in receiver.readings) == 300)
        assert json.loads(receiver.statuses[-1])["rejected"] == 0
        agent.kill()
        agent.wait(20)
        # Killed, and started again: it goes on, and nothing comes twice.
        fake.rows.extend(live_rows(300, 400))
        again = station.start("run")
        wait_until(lambda: sum(name == "cavity_pressure" for _, name, _ in receiver.readings) == 400)
        code, said = ended(again)
    assert (code, "Traceback" in said) == (0, False)
    assert receiver.conflicts == []
    assert station.status()["positions"] == {"g2301": {f"tcp://127.0.0.1:{fake.end.port}": None}}
    # The instrument's log, by replay: every value is the one that is there.
    logged(station.folder, 0, 400)
    assert station.call("replay", "--instrument", "g2301", station.folder / "DataLog_User_day.dat")[0] == 0
    assert receiver.conflicts == []
    assert sum(name == "cavity_pressure" for _, name, _ in receiver.readings) == 400
