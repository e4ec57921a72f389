import pytest

from qc.units import HPA_PER_TORR, QUANTITIES
from station_agent.drivers import quantities, read_file
from station_agent.drivers.lines import MAX_LINE, LineStream
from station_agent.drivers.picarro import COLUMNS, PicarroParser
from station_agent.drivers.quantities import UNITS, conversion
from station_agent.errors import DriverError
from tests.station_agent.picarro_text import HEADER, row, text


def test_the_vocabulary_is_that_of_the_server():
    assert {name: quantity.unit for name, quantity in QUANTITIES.items()} == dict(UNITS)
    assert quantities.HPA_PER_TORR == HPA_PER_TORR
    assert {name for name, _, _ in COLUMNS.values()} <= set(QUANTITIES)


@pytest.mark.parametrize(
    ("quantity", "unit", "expected"),
    [
        ("co2", "ppm", (1.0, 0.0)),
        ("ch4", "ppm", (1000.0, 0.0)),
        ("h2o", "ppm", (1e-4, 0.0)),
        ("h2o", "mmol mol-1", (0.1, 0.0)),
        ("n2o", "nmol mol-1", (1.0, 0.0)),
        ("cavity_pressure", "kPa", (10.0, 0.0)),
        ("box_temperature", "K", (1.0, -273.15)),
        ("flow", "L min-1", (1000.0, 0.0)),
        ("relative_humidity", "%", (1.0, 0.0)),
        ("co2", "µmol_mol⁻¹", (1.0, 0.0)),
        ("co2", "μmol mol⁻¹", (1.0, 0.0)),
        ("h2o", "mmol_mol⁻¹", (0.1, 0.0)),
        ("dew_point", "°C", (1.0, 0.0)),
        ("box_temperature", "Celsius", (1.0, 0.0)),
        ("box_temperature", "Deg C", (1.0, 0.0)),
        ("flow", "L_min⁻¹", (1000.0, 0.0)),
        ("battery_voltage", "Volts", (1.0, 0.0)),
        ("wind_direction", "Degrees", (1.0, 0.0)),
    ],
)
def test_units_become_the_one_that_is_sent(quantity, unit, expected):
    assert conversion(quantity, unit) == expected


# --- which driver ----------------------------------------------------------------------------


def test_a_table_that_must_be_described_is_not_recognised(shared):
    with pytest.raises(DriverError, match="no driver recognises this file, its first line is 'date_UTC,co2_ppm,pod_id"):
        read_file(shared / "data/instruments/aqmesh_co2.csv")


def test_an_empty_file_is_not_recognised(tmp_path):
    (tmp_path / "empty.dat").write_text("\n\n")
    with pytest.raises(DriverError, match="it has no text in its first lines"):
        read_file(tmp_path / "empty.dat")


@pytest.mark.parametrize("driver", ["simulated", "picaro"])
def test_a_driver_that_reads_no_files_is_refused(tmp_path, driver):
    reading = "picarro, licor, licor850, lgr, campbell, delimited"
    with pytest.raises(DriverError, match=f"driver '{driver}' reads no files, expected one of {reading}"):
        read_file(tmp_path / "x.dat", driver)


# --- lines -----------------------------------------------------------------------------------


def read(path, **options):
    """Read a Picarro log; return its samples and rejections."""
    rejected = []
    return list(read_file(path, "picarro", on_rejected=rejected.append, **options)), rejected


def test_an_unterminated_last_line_of_a_finite_file_is_rejected(tmp_path):
    path = tmp_path / "cut.dat"
    path.write_text(text(0, 3) + row(3))
    samples, (rejected,) = read(path)
    assert len(samples) == 3
    assert (rejected.line, rejected.text) == (5, row(3))
    assert rejected.reason == "the file ends in the middle of this line"


def test_bytes_of_another_encoding_reject_their_line_only(tmp_path):
    path = tmp_path / "bytes.dat"
    path.write_bytes(text(0, 2).encode() + b"caf\xe9\n" + row(2).encode() + b"\n")
    samples, (rejected,) = read(path)
    assert len(samples) == 3
    assert (rejected.line, rejected.text, rejected.reason) == (4, "caf\\xe9", "byte 4 (0xe9) is not utf-8")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("piece", [1000, 7000, 10**6])
def test_a_line_that_is_too_long_is_rejected_once(end, piece):
    lines = [HEADER, row(0), "x" * (3 * MAX_LINE), row(1), "y" * (MAX_LINE + 1), row(2), ""]
    data = end.join(lines).encode()
    stream, samples, rejected, tail = LineStream(PicarroParser()), [], [], b""
    for begin in range(0, len(data), piece):
        tail += data[begin : begin + piece]
        used, got = stream.feed(tail)
        tail = tail[used:]
        assert len(tail) <= MAX_LINE + piece
        samples += got.samples
        rejected += [aside.rejected for aside in got.asides]
    assert len(samples) == 3
    assert [(line.line, line.text[:1], len(line.text)) for line in rejected] == [(3, "x", 8192), (5, "y", 8192)]
    assert stream.line == 6
