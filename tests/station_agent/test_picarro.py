import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from station_agent.drivers import make_parser, parse_line, read_file
from station_agent.drivers.lines import LineStream, read_blocks
from station_agent.drivers.picarro import PicarroParser
from station_agent.errors import DriverError
from station_agent.sample import Mark, Rejected
from tests.station_agent.picarro_text import HEADER, START, row, text

TORR = 101325 / 760 / 100


def table(path):
    """Read a log the plain way: list of {column: text}."""
    lines = path.read_text().splitlines()
    names = lines[0].split()
    return [dict(zip(names, line.split(), strict=True)) for line in lines[1:]]


def parsed(lines):
    """Feed lines to a new parser; return what each gave."""
    parser = PicarroParser()
    return [parser.feed(line, number=number) for number, line in enumerate(lines, 1)]


# --- real files ------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "rows", "own"), [("picarro_g2301_hour", 3618, 1206), ("picarro_g2301", 11, 4)])
def test_real_g2301(shared, name, rows, own):
    path = shared / f"data/instruments/{name}.dat"
    rejected = []
    samples = list(read_file(path, on_rejected=rejected.append))
    lines = table(path)
    expected = [float(line["CO2"]) for line in lines if float(line["species"]) == 1]
    co2 = [sample.values["co2"] for sample in samples if "co2" in sample.values]
    assert (len(samples), rejected, len(co2)) == (rows, [], own)
    assert co2 == expected
    assert math.fsum(co2) / own == pytest.approx(math.fsum(expected) / own, rel=1e-15)
    assert [s.time_ns for s in samples] == [int(line["EPOCH_TIME"].replace(".", "")) * 1_000_000 for line in lines]
    for quantity, column, species, factor in [
        ("ch4", "CH4", 2, 1000.0),
        ("h2o", "H2O", 3, 1.0),
        ("h2o_reported", "h2o_reported", 3, 1.0),
        ("co2_dry", "CO2_dry", 3, 1.0),
        ("ch4_dry", "CH4_dry", 3, 1000.0),
    ]:
        wanted = [float(line[column]) * factor if float(line["species"]) == species else None for line in lines]
        assert [sample.values.get(quantity) for sample in samples] == wanted
    assert {sample.status for sample in samples} == {963}


@pytest.mark.parametrize(("column", "species"), [("CO2", 1), ("CH4", 2), ("H2O", 3), ("h2o_reported", 3)])
def test_in_the_real_hour_a_gas_changes_on_its_own_rows_only(shared, column, species):
    # What the rule rests on, seen in the file itself.
    lines = table(shared / "data/instruments/picarro_g2301_hour.dat")
    changes = {float(now["species"]) for before, now in pairwise(lines) if before[column] != now[column]}
    assert changes == {species}


def test_ports_of_the_real_hour(shared):
    samples = list(read_file(shared / "data/instruments/picarro_g2301_hour.dat"))
    counts = {port: sum(sample.port == port for sample in samples) for port in {sample.port for sample in samples}}
    assert counts == {"10": 2537, "11": 240, "1": 239, "14": 234, "16": 121, "6": 120, "13": 120, "moving": 7}


def test_real_g4301_without_species(shared):
    path = shared / "data/instruments/picarro_g4301.dat"
    samples, lines = list(read_file(path)), table(path)
    assert len(samples) == len(lines) == 712
    assert [s.values["co2"] for s in samples] == [float(line["CO2"]) for line in lines]
    assert [s.values["ch4"] for s in samples] == [float(line["CH4"]) * 1000 for line in lines]
    torr = [float(line["CavityPressure"]) * TORR for line in lines]
    assert [s.values["cavity_pressure"] for s in samples] == pytest.approx(torr, rel=1e-9)
    assert {(s.port, s.status) for s in samples} == {(None, 899)}


# --- rules -----------------------------------------------------------------------------------


def test_every_row_gives_what_is_new_in_it():
    _, (co2,), (ch4,), (water,), (other,) = parsed(
        [HEADER, row(0, species=1), row(1, species=2), row(2, species=3), row(3, species=4)]
    )
    pressure = {"cavity_pressure": pytest.approx(140 * TORR)}
    assert co2.values == {"co2": 420.0, **pressure}
    assert ch4.values == {"ch4": float("1.9001000000E+00") * 1000.0, **pressure}
    assert water.values == {"h2o": 1.5, **pressure}
    assert other.values == pressure


def test_equal_stamps_are_spread_by_a_millisecond_and_marked():
    lines = [row(0, co2=1), row(0, co2=2), row(0, co2=3), row(0, epoch=f"{START}.001", co2=4), row(1)]
    samples = [got[0] for got in parsed([HEADER, *lines])[1:]]
    offsets = [(sample.time_ns - START * 10**9) // 10**6 for sample in samples]
    assert offsets == [0, 1, 2, 3, 1000]
    assert [sample.mark for sample in samples] == [0, Mark.SPREAD, Mark.SPREAD, Mark.SPREAD, 0]


def test_a_repeated_row_has_nothing_new():
    _, first, second = parsed([HEADER, row(0), row(0)])
    assert first[0].values
    assert (second[0].values, second[0].mark) == ({}, Mark.SPREAD)


def test_a_clock_that_went_back_is_taken_as_it_is():
    samples = [got[0] for got in parsed([HEADER, row(5), row(3), row(4)])[1:]]
    assert [(sample.time_ns // 10**9 - START, sample.mark) for sample in samples] == [(5, 0), (3, 0), (4, 0)]


def test_nan_is_missing_and_the_row_stays():
    (sample,) = parsed([HEADER, row(0, co2=math.nan)])[1]
    assert "co2" not in sample.values
    assert "cavity_pressure" in sample.values


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (row(0)[:100], "4 fields, the header has 10"),
        (row(0)[:-3], "257 characters, the header has 260: the row is cut or damaged"),
        (row(0).replace("4.2000000000", "4.2000x00000"), "column CO2 is '4.2000x00000E+02', expected a number"),
        (row(0, epoch="12.000"), "column EPOCH_TIME is '12.000', expected seconds since 1970, from 1990 to 2100"),
        (row(0, co2=math.inf), "column CO2 is 'INF', expected a finite number"),
        (row(0, status="9x"), "column INST_STATUS is '9x', expected a number"),
        (row(0, status="9.5"), "column INST_STATUS is '9.5', expected a whole number of 32 bits"),
        (row(0, port=-1), "column MPVPosition is '-1.0000000000E+00', expected a valve position, 0 to 1000"),
        (row(0, species=1.5), "column species is '1.5000000000E+00', expected a whole number of 32 bits"),
        (row(0).replace("4.2000000000", "4.20_0000000"), "a character stands in the row that no Picarro writes"),
    ],
)
def test_a_bad_row_is_rejected_with_its_reason(line, reason):
    _, rejected, good = parsed([HEADER, line, row(1)])
    assert rejected == Rejected(2, line, reason)
    assert good[0].time_ns == (START + 1) * 10**9


def test_rows_without_a_header_are_rejected():
    (rejected,) = parsed([row(0)])
    assert rejected.reason == "no header line (with EPOCH_TIME and INST_STATUS) stands before this row"


def test_a_header_begins_a_log_of_its_own():
    other = "".join(f"{name:<26}" for name in ("EPOCH_TIME", "ALARM_STATUS", "CO2"))
    values = "".join(f"{value:<26}" for value in (f"{START}.000", "0", "4.0E+02"))
    got = parsed([HEADER, row(0), "", other, values])
    assert got[2:4] == [None, None]
    assert (got[4][0].values, got[4][0].mark, got[4][0].status) == ({"co2": 400.0}, 0, None)


def test_a_log_whose_trailing_blanks_were_stripped_is_read():
    got = parsed([HEADER.rstrip(), row(0).rstrip(), row(1).rstrip()])
    assert [len(samples) for samples in got[1:]] == [1, 1]


# --- the same, however it is read ------------------------------------------------------------


def read_bytes(data, cuts):
    """Feed bytes in pieces, through a restart at every cut; return samples and rejections."""
    stream, samples, rejected, tail = LineStream(make_parser("picarro")), [], [], b""
    for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        tail += data[begin:end]
        used, got = stream.feed(tail)
        tail = tail[used:]
        samples += got.samples
        rejected += [aside.rejected for aside in got.asides]
        parser = make_parser("picarro")
        parser.restore(stream.parser.state())
        stream = LineStream(parser, line=stream.line, skipping=stream.skipping)
    rejected += [aside.rejected for aside in stream.finish(tail).asides]
    return samples, rejected


@given(data=st.data())
def test_pieces_and_restarts_change_nothing(data):
    rows = data.draw(st.lists(st.sampled_from([row(0), row(0, co2=9), row(1), row(2), "rubbish", ""]), max_size=12))
    raw = "\r\n".join([HEADER, *rows, row(4)[:50]]).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=8)))
    assert read_bytes(raw, cuts) == read_bytes(raw, [])


BASE = text(0, 12).encode()


@st.composite
def damaged(draw):
    """Return a log that something happened to: bytes flipped, cut, lines doubled, rubbish put in."""
    data = bytearray(BASE)
    for _ in range(draw(st.integers(0, 4))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    lines = bytes(data).split(b"\n")
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        lines.insert(at, draw(st.one_of(st.just(lines[at]), st.binary(max_size=300))))
    joined = b"\n".join(lines)
    return joined[: draw(st.integers(0, len(joined)))]


@settings(max_examples=300)
@given(data=damaged())
def test_read_and_kept_aside_are_all_lines(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged.dat"
    path.write_bytes(data)
    rejected = []
    samples = list(read_file(path, "picarro", on_rejected=rejected.append))
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    # Headers and blank lines hold no sample; what looks like a header is one.
    silent = [line for line in lines if not line.decode(errors="replace").split() or header_like(line)]
    unfinished = bool(data) and not data.endswith(b"\n") and lines[-1] in silent
    assert len(samples) + len(rejected) == len(lines) - len(silent) + unfinished
    for sample in samples:
        assert all(math.isfinite(value) for value in sample.values.values())
        assert sample.port is None or sample.port == "moving" or sample.port.isdigit()


def header_like(line):
    try:
        words = line.decode().split()
    except UnicodeDecodeError:
        return False
    return "EPOCH_TIME" in words and bool({"INST_STATUS", "ALARM_STATUS"} & set(words))


def test_the_same_by_blocks_and_line_by_line(shared, monkeypatch):
    path = shared / "data/instruments/picarro_g2301_hour.dat"
    whole = list(read_file(path))
    monkeypatch.setattr("station_agent.drivers.lines.BLOCK", 777)
    pieces = [s for got in read_blocks(LineStream(make_parser("picarro")), path) for s in got.samples]
    assert pieces == whole


# --- a corrected line ------------------------------------------------------------------------


def test_a_rejected_line_is_read_again_once_corrected():
    detail = {"driver": "picarro", "options": {}, "header": HEADER, "line": 7}
    with pytest.raises(DriverError, match="line 7 still cannot be read: 4 fields, the header has 10"):
        parse_line(row(0)[:100], detail)
    (sample,) = parse_line(row(0), detail)
    assert sample.values["co2"] == 420.0
