"""A day of an LI-COR over TCP and of an LGR over a pseudo-terminal, in the lines of real files."""

from datetime import UTC, datetime, timedelta

from station_agent.drivers import read_file
from station_agent.sources import FiniteFiles
from tests.station_agent.fake_instrument import FakeStream, PtyEnd, TcpEnd
from tests.station_agent.live_station import LiveStation, flat, named

DAY = 86_400
LICOR = 'driver = "licor"\npoll = 0.05\n'
LGR = 'driver = "lgr"\npoll = 0.05\ndate_order = "mdy"\n'


def licor_day(path):
    """Return header lines and a day of rows, one a second, made from the rows of a real file."""
    lines = path.read_text("utf-8").splitlines()
    head = [line for line in lines if line.startswith(("DATAH", "DATAU"))][:2]
    rows = [line.split("\t") for line in lines if line.startswith("DATA\t")]
    day = []
    for number in range(DAY):
        fields = list(rows[number % len(rows)])
        fields[1] = str(1_700_000_000 + number)
        fields[3] = str(number)
        text = "\t".join(fields[:-1]) + "\t"
        day.append(f"{text}{sum(text.encode()) % 256:3d}")
    return head, day


def lgr_day(path):
    """Return header lines and a day of rows, one a second, made from the rows of a real file."""
    lines = path.read_text("utf-8").splitlines()
    begin = datetime(2023, 5, 4, 8, tzinfo=UTC)
    day = []
    for number in range(DAY):
        moment = begin + timedelta(seconds=number, milliseconds=number % 250)
        _, rest = lines[2 + number % 50].split(",", 1)
        day.append(f"  {moment:%m/%d/%Y %H:%M:%S}.{moment.microsecond // 1000:03d},{rest}")
    return lines[:2], day


def test_a_day_of_an_licor_arrives_complete_through_disconnects(tmp_path, shared):
    head, day = licor_day(shared / "data/instruments/licor_li7810.data")
    file = tmp_path / "day.data"
    file.write_text("\n".join([*head, *day]) + "\n")
    end = TcpEnd()
    # Each connection begins with the headers; lines after the first cut stand under those of the second.
    cuts = {5: "cut", 6: "stall", **dict.fromkeys(range(4000, DAY, 9000), "cut"), DAY - 1: "cut"}
    preamble = "".join(f"{line}\n" for line in head).encode()
    with FakeStream(end, day, preamble=preamble, cuts=cuts, newline=b"\n") as fake:
        station = LiveStation(tmp_path, LICOR + "silent = 1.0\n" + end.address)
        station.run(lambda: fake.exhausted, samples=DAY)
        assert fake.connections == len(cuts) + 1
    samples, events = station.spooled()
    assert samples == flat(read_file(file))
    happened = named(events)
    assert happened["line_rejected"] == fake.halves == len(cuts) - 1
    assert (happened["instrument_silent"], happened["instrument_back"]) == (1, 1)
    # What the instrument itself has kept is the same: a gap is filled, and nothing doubles.
    source = FiniteFiles(station.instrument, [file])
    replayed = []
    while (reading := source.read(thorough=False)) is not None:
        replayed += flat(reading.samples)
    assert replayed == samples


def test_a_day_of_an_lgr_arrives_complete_through_disconnects(tmp_path, shared):
    head, day = lgr_day(shared / "data/instruments/lgr_ugga.csv")
    file = tmp_path / "day.csv"
    file.write_text("\n".join([*head, *day]) + "\n")
    end = PtyEnd(tmp_path)
    cuts = dict.fromkeys(range(7000, DAY, 9000), "cut")
    # The port sends no header, and a connection begins in the middle of a line.
    preamble = day[0].encode()[40:] + b"\r\n"
    fields = ", ".join(f'"{name.strip()}"' for name in head[1].split(","))
    with FakeStream(end, day, preamble=preamble, cuts=cuts) as fake:
        station = LiveStation(tmp_path, f"{LGR}fields = [{fields}]\n{end.address}")
        station.run(lambda: fake.exhausted, samples=DAY)
        assert fake.connections == len(cuts) + 1
    samples, events = station.spooled()
    assert samples == flat(read_file(file, "lgr", options={"date_order": "mdy"}))
    happened = named(events)
    assert happened["line_rejected"] == fake.halves + fake.connections
    assert happened["instrument_connected"] == happened["instrument_lost"] + 1 == fake.connections
