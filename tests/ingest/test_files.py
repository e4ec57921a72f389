"""Real files of the world's archives: rows, valid values, means; lying headers, cut and shuffled lines."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest import files
from ingest.errors import FileError
from qc.flags import Flag
from qc.schema import OBS, require, valid

PLACE = {"station": "x", "inlet_height": 10.0, "latitude": 1.0, "longitude": 2.0, "altitude": 3.0}
KEELING = {
    "time": {"column": "date", "format": "%Y%m%d", "interval": "7 days"},
    "gas": {"co2": {"value": "co2", "unit": "ppm", "scale": "as published"}},
    "missing": [""],
} | PLACE
TARGET = {
    "separator": "",
    "header": False,
    "time": {"column": "1", "format": "decimal year", "interval": "1 minute", "stamp": "middle"},
    "gas": {"co2": {"value": "2", "unit": "ppm", "scale": "WMO CO2 X2019"}},
} | PLACE

#  file, what it leaves unsaid, format, gas -> rows, valid, mean of the valid in the project's units
RECORDS = [
    ("gcwerks_bsd_108m_hourly.dat", {"scale": "S"} | PLACE, "gcwerks", "ch4", 999, 999, 1979.4992),
    ("gcwerks_bsd_108m_hourly.dat", {"scale": "S"} | PLACE, "gcwerks", "co2", 999, 999, 415.08044),
    ("gcwerks_bsd_108m_hourly.dat", {"scale": "S"} | PLACE, "gcwerks", "co", 999, 999, 137.31322),
    ("gcwerks_tac_100m_201407.dat", {"scale": "S"} | PLACE, "gcwerks", "co2", 15409, 13815, 397.69787),
    ("gcwerks_tac_100m_201407.dat", {"scale": "S"} | PLACE, "gcwerks", "ch4", 15409, 13814, 1921.97174),
    ("gcwerks_shangdianzi_medusa.18.C", PLACE, "gcwerks-c", "nf3", 7, 6, 2.143),
    ("gcwerks_shangdianzi_medusa.18.C", PLACE, "gcwerks-c", "hfc134a", 7, 0, None),
    ("icos_l2_rgl_90m.CH4", {"scale": "WMO CH4 X2004A"}, "icos", "ch4", 49, 13, 1997.61308),
    ("icos_nrt_gat_20180412_co2.csv", {}, "icos", "co2", 24, 23, 419.23087),
    ("keeling_mlo_co2_weekly.csv", {"mapping": KEELING}, "table", "co2", 2284, 2225, 340.1422),
    ("noaa_brw_co2_daily.txt", {}, "noaa", "co2", 17532, 15472, 369.21706),
    ("noaa_mlo_target.txt", {"mapping": TARGET}, "table", "co2", 1371, 1371, 398.36540),
    ("obspack_co2_htm_150m.nc", {}, "obspack", "co2", 100, 100, 413.88077),
    ("wdcgg_ams_co2_monthly.dat", {"scale": "S", "inlet_height": 65.0}, "wdcgg-old", "co2", 360, 338, 361.02953),
]


@pytest.fixture(scope="session")
def records(shared):
    return shared / "data/records"


@pytest.mark.parametrize(("name", "unsaid", "form", "gas", "rows", "good", "mean"), RECORDS)
def test_rows_valid_values_and_means(records, name, unsaid, form, gas, rows, good, mean):
    ds = files.read(records / name, **unsaid)
    require(ds, OBS)
    assert ds.attrs["source_format"] == form
    values = ds[gas].values[valid(ds, gas).values]
    assert (ds.sizes["time"], values.size) == (rows, good)
    if mean is not None:
        assert values.mean() == pytest.approx(mean, abs=6e-6 * mean)


def test_all_records_are_in_the_table(records):
    assert {path.name for path in records.iterdir()} == {row[0] for row in RECORDS}


# --- what each format says -------------------------------------------------------------------


def test_icos_near_real_time(records):
    """The header says UTC +1 and means the station; the last value is missing beside a valid flag."""
    ds = files.read(records / "icos_nrt_gat_20180412_co2.csv")
    assert ds.attrs["station"] == "GAT"
    place = [ds.attrs[name] for name in ("inlet", "inlet_height", "latitude", "longitude", "altitude")]
    assert place == ["341m", 341.0, 53.0657, 11.4429, 70.0]
    assert ds["co2"].attrs["scale"] == "WMO CO2 X2007"
    assert ds["time_bnds"].values[0].astype("datetime64[m]").astype(str).tolist() == [
        "2018-04-12T00:00",
        "2018-04-12T01:00",
    ]
    assert set(ds["co2_flag_source"].values) == {"U"}
    last = ds.isel(time=-1)
    assert (int(last["co2_flag"]), np.isnan(float(last["co2"])), float(last["co2_stdev"])) == (Flag.MISSING, True, 0.55)
    first = ds.isel(time=0)
    assert [float(first[name]) for name in ("co2", "co2_n", "co2_raw", "h2o")] == [420.828, 8.0, 410.877, 1.437]
    assert np.isnan(float(first["co2_raw_dry"]))


def test_icos_level_2_does_not_guess_a_scale(records):
    path = records / "icos_l2_rgl_90m.CH4"
    with pytest.raises(
        FileError, match=r"'530: Unknown; 115: WMO X2004A'; it is not guessed: give it, as read\(path, scale="
    ):
        files.read(path)
    ds = files.read(path, scale={"ch4": "WMO CH4 X2004A"})
    letters, counts = np.unique(ds["ch4_flag_source"].values, return_counts=True)
    assert dict(zip(letters.tolist(), counts.tolist(), strict=True)) == {"K": 29, "N": 7, "O": 13}
    last = ds.isel(time=-1)
    assert [float(last[f"ch4_{name}"]) for name in ("ltr", "cmr", "sttb", "without_spikes")] == [
        0.177,
        0.215,
        -0.587,
        2001.63,
    ]
    assert int(last["instrument_id"]) == 115


def test_noaa_heights_that_changed_are_kept_by_value(records):
    ds = files.read(records / "noaa_brw_co2_daily.txt")
    assert ds.attrs["inlet_height"] == 16.46
    heights, counts = np.unique(ds["intake_height"].values, return_counts=True)
    assert dict(zip(heights.tolist(), counts.tolist(), strict=True)) == {10.0: 975, 16.0: 1581, 16.46: 14976}
    assert ds["time_bnds"].values[0].astype(str).tolist() == [
        "1973-01-01T00:00:00.000000000",
        "1973-01-02T00:00:00.000000000",
    ]


def test_obspack_values_are_read_by_their_digits(records):
    """0.000412447 in single precision is 412.447 ppm, not 412.44699; times are begins, as its comment says."""
    ds = files.read(records / "obspack_co2_htm_150m.nc")
    assert ds["co2"].values[:2].tolist() == [412.447, 413.027]
    assert ds["time_bnds"].values[0, 0] == np.datetime64("2016-12-13T00:00")
    assert ds["time"].values[0] == np.datetime64("2016-12-13T00:30")


def test_wdcgg_months_end_where_the_next_begin(records):
    ds = files.read(records / "wdcgg_ams_co2_monthly.dat", scale="S", inlet_height=65.0)
    assert (ds["time_bnds"].values[1:, 0] == ds["time_bnds"].values[:-1, 1]).all()
    assert ds.attrs["station"] == "AMS"
    with pytest.raises(FileError, match="says of the calibration scale of co2 'WMO X93 scale and from 2006"):
        files.read(records / "wdcgg_ams_co2_monthly.dat", inlet_height=65.0)


def test_a_chromatographs_gases_scales_and_precisions(records, tmp_path):
    path = records / "gcwerks_shangdianzi_medusa.18.C"
    ds = files.read(path, **PLACE)
    assert [ds[gas].attrs["scale"] for gas in ("nf3", "cf4", "sf6")] == ["SIO-12", "SIO-05", "SIO-05"]
    assert ds["nf3"].attrs["units"] == "pmol mol-1"
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    (tmp_path / "gcwerks_shangdianzi_medusa.18.precisions.C").write_text(
        "Created: 1 Feb 21\n-\n-\n date NF3 CF4\n date C N C N\n180101 0.01 5 0.2 5\n180117 0.03 4 0.4 4\n"
    )
    with_precisions = files.read(copy, **PLACE)
    days = with_precisions["time"].values.astype("datetime64[D]")
    expected = np.where(days < np.datetime64("2018-01-17"), 0.01, 0.03)
    assert with_precisions["nf3_uncertainty"].values.tolist() == expected.tolist()
    assert np.isnan(with_precisions["sf6_uncertainty"].values).all()


def test_places_of_a_file_that_says_none_are_asked_for(records):
    with pytest.raises(
        FileError, match="does not say its station, inlet_height, latitude, longitude, altitude: give them"
    ):
        files.read(records / "gcwerks_tac_100m_201407.dat", scale="S")


# --- headers that lie, lines that are cut ----------------------------------------------------

ICOS = """\
# STATION CODE: GAT
# STATION NAME: Gartow
# TOTAL LINES: 1
# HEADER LINES: 3
# LATITUDE: 53.0657 N
# LONGITUDE: 11.4429 E
# ALTITUDE: 70 m asl
# PARAMETER: CO2
# TIME INTERVAL: hourly
# MEASUREMENT UNIT: µmol.mol-¹
# MEASUREMENT SCALE: WMO CO2 X2019
#
#Site;SamplingHeight;Year;Month;Day;Hour;Minute;DecimalDate;co2;Stdev;NbPoints;Flag;InstrumentId
"""


def icos_rows(n=24):
    draw = random.Random(1)
    rows = []
    for k in range(n):
        year, value = 2018 + (101 + k / 24) / 365, 420 + draw.random()
        rows.append(f"GAT;341;2018;04;{12 + k // 24};{k % 24:02};00;{year:.8f};{value:.3f};0.066;8;U;489")
    return rows


def icos(path, rows, *, end="\n", encoding="utf-8"):
    path.write_bytes((ICOS + "\n".join(rows) + end).encode(encoding))
    return path


def test_counts_in_a_header_are_not_believed(tmp_path):
    assert files.read(icos(tmp_path / "a", icos_rows())).sizes["time"] == 24


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda rows: [*rows[:5], rows[5][:-4], *rows[6:]], "line 19: 12 columns, expected 13; is the line cut"),
        (lambda rows: [*rows[:5], rows[4], *rows[5:]], "line 19: .* has the time of the one before again"),
        (lambda rows: [rows[1], rows[0], *rows[2:]], "line 15: 2018-04-12T00:00:00 comes after 2018-04-12T01:00:00"),
        (lambda rows: [rows[0].replace(";04;12;", ";04;31;"), *rows[1:]], "line 14: 2018-04-31 is no day"),
        (
            lambda rows: [rows[0].replace(";04;12;", ";05;12;"), *rows[1:]],
            "line 14: DecimalDate .* is not 2018-05-12T00:00",
        ),
        (lambda rows: [rows[0].replace("0.066", "0.0x6"), *rows[1:]], "line 14: Stdev is '0.0x6', expected a number"),
        (lambda rows: [rows[0].replace("0.066", "0.1_6"), *rows[1:]], "line 14: Stdev is '0.1_6', expected a number"),
        (lambda rows: [rows[0].replace("0.066", "inf"), *rows[1:]], "line 14: Stdev is 'inf', expected a number"),
        (lambda rows: [rows[0].replace(";U;", ";?;"), *rows[1:]], "line 14: Flag is '\\?', expected one of U"),
        (
            lambda rows: [re.sub(r"(42\d\.\d\d)\d", r"\1", rows[0]), *rows[1:]],
            "line 14: co2 is .*, expected 3 decimals",
        ),
        (lambda rows: rows[:0], "line 14: no data follow"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path, change, sentence):
    path = icos(tmp_path / "a.CO2", change(icos_rows()))
    with pytest.raises(FileError, match=rf"^{re.escape(str(path))}, {sentence}"):
        files.read(path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        ((ICOS + "\n".join(icos_rows())).encode("latin-1", "replace"), "line 10|line 37"),
        ((ICOS + "\n".join(icos_rows()) + "\n").replace("¹", "1").encode("latin-1"), "line 10: byte 0xb5 is not UTF-8"),
        ((ICOS + "\n".join(icos_rows()) + "\n").encode("utf-16"), "begins with|line 1: the file is UTF-16"),
        (b"# STATION CODE: A\n# MEASUREMENT SCALE: B\n\0\n", "line 3|NUL"),
        (b"a,b\n1,2\n", "line 1: begins with 'a,b', like no format that is known"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "cannot be read as netCDF"),
        (b"CDF\x01" + bytes(3), "cannot be read as netCDF"),
    ],
)
def test_content_that_is_none(tmp_path, content, sentence):
    path = tmp_path / "a"
    path.write_bytes(content)
    with pytest.raises(FileError, match=sentence) as found:
        files.read(path)
    assert str(path) in str(found.value)


def test_an_encoding_may_be_said(tmp_path):
    path = tmp_path / "a"
    path.write_bytes((ICOS + "\n".join(icos_rows()) + "\n").replace("¹", "1").encode("latin-1"))
    assert files.read(path, encoding="latin-1").sizes["time"] == 24
    path.write_bytes(b"\xef\xbb\xbf" + (ICOS + "\n".join(icos_rows()) + "\n").replace("\n", "\r\n").encode())
    assert files.read(path).sizes["time"] == 24


def damages():
    """Return how a text is spoiled: cut at a byte, a line cut, doubled, moved."""
    return st.tuples(
        st.sampled_from(["cut", "cut line", "double", "swap"]), st.integers(0, 10**9), st.integers(0, 10**9)
    )


def spoiled(content, how, a, b):
    head = next(
        content.index(mark) for mark in (b"\n#Site", b"\nC32", b"\nsite_code ", b"\n  date ") if mark in content
    )
    begin = content.index(b"\n", head + 1) + 1
    if how == "cut":
        return content[: begin + a % (len(content) - begin)]
    lines = content[begin:].rstrip(b"\n").split(b"\n")
    k, m = a % len(lines), b % len(lines)
    if how == "cut line":
        lines[k] = lines[k][: b % max(len(lines[k]), 1)]
    elif how == "double":
        lines.insert(m, lines[k])
    else:
        lines[k], lines[m] = lines[m], lines[k]
    return content[:begin] + b"\n".join(lines) + b"\n"


@pytest.mark.parametrize(
    ("name", "unsaid", "gas"),
    [
        ("icos_nrt_gat_20180412_co2.csv", {}, "co2"),
        ("icos_l2_rgl_90m.CH4", {"scale": "S"}, "ch4"),
        ("wdcgg_ams_co2_monthly.dat", {"scale": "S", "inlet_height": 65.0}, "co2"),
        ("noaa_brw_co2_daily.txt", {}, "co2"),
        ("gcwerks_bsd_108m_hourly.dat", {"scale": "S"} | PLACE, "co2"),
    ],
)
@settings(max_examples=60, deadline=None)
@given(damage=damages())
def test_a_spoiled_file_gives_one_sentence_or_right_numbers(records, tmp_path_factory, name, unsaid, gas, damage):
    """Whatever is read of it was in the file as it is, at that time."""
    content = b"".join((records / name).read_bytes().splitlines(keepends=True)[:350])
    path = tmp_path_factory.mktemp("spoiled") / name
    path.write_bytes(content)
    good = files.read(path, **unsaid)
    path.write_bytes(spoiled(content, *damage))
    try:
        ds = files.read(path, **unsaid)
    except FileError as error:
        ds, sentence = None, str(error)
    if ds is None:
        assert "\n" not in sentence
        assert str(path) in sentence
        return
    same = good.sel(time=ds["time"].values)
    for ending in ("", "_stdev", "_n", "_flag"):
        np.testing.assert_array_equal(ds[f"{gas}{ending}"].values, same[f"{gas}{ending}"].values)


# --- files without a sample at hand: NOAA events, WDCGG since 2018 ---------------------------

EVENT = """\
# header_lines : 8
# site_code : MLO
# site_latitude : 19.536
# site_longitude : -155.576
# site_elevation : 3397.0
# dataset_parameter : ch4
# dataset_calibration_scale : WMO CH4 X2004A
# value:units : nanomol mol-1
site_code year month day hour minute second air_sample_container_id value value_unc intake_height event_number qcflag
MLO 2020 1 1 0 30 0 A1-99 1860.10 1.2 40.0 1 ...
MLO 2020 1 1 0 30 0 A2-99 1860.90 1.2 40.0 2 .S.
MLO 2020 1 8 0 30 0 A3-99 -999.99 -99.9 40.0 3 *..
"""


def test_flasks_of_one_instant_stand_a_millisecond_apart(tmp_path):
    path = tmp_path / "ch4.txt"
    path.write_text(EVENT)
    ds = files.read(path)
    assert ds["ch4"].values[:2].tolist() == [1860.1, 1860.9]
    assert np.diff(ds["time"].values)[0] == np.timedelta64(1, "ms")
    assert ds["ch4_flag"].values.tolist() == [1, 1, 9]
    assert ds["ch4_selection"].values.tolist() == [1, 0, 1]
    assert ds["ch4_uncertainty"].values[:2].tolist() == [1.2, 1.2]


WDCGG = """\
# header_lines : 9
# title : text for WDCGG
# site_gaw_id : LAN
# dataset_parameter : co2
# dataset_calibration_scale : WMO CO2 X2019
# dataset_data_frequency : 1
# dataset_data_frequency_unit : hour
# value:units : ppm
# site_wdcgg_id st_year st_month st_day st_hour st_minute st_second end_year end_month end_day end_hour end_minute \
end_second value value_sd nvalue latitude longitude altitude elevation intake_height flask_no ORG_QCflag QCflag
3001 2020 1 1 0 0 0 -999 -9 -9 -9 -9 -9 412.1 0.2 60 30.3 119.7 189.0 139.0 50.0 -999.999 U 1
3001 2020 1 1 1 0 0 -999 -9 -9 -9 -9 -9 413.1 0.2 60 30.3 119.7 189.0 139.0 50.0 -999.999 U 2
3001 2020 1 1 2 0 0 -999 -9 -9 -9 -9 -9 -999.999 -999.999 -9 30.3 119.7 189.0 139.0 50.0 -999.999 K 3
"""


def test_wdcgg_since_2018(tmp_path):
    path = tmp_path / "co2.txt"
    path.write_text(WDCGG)
    ds = files.read(path)
    assert ds.attrs["source_format"] == "wdcgg"
    assert [ds.attrs[name] for name in ("station", "inlet_height", "altitude")] == ["LAN", 50.0, 139.0]
    assert ds["co2_flag"].values.tolist() == [1, 1, 9]
    assert ds["co2_selection"].values.tolist() == [1, 0, 0]
    path.write_text(WDCGG.replace(" U 2\n", " U 7\n"))
    with pytest.raises(FileError, match="line 11: QCflag is 7, expected 1, 2, 3"):
        files.read(path)


# --- mappings --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"gass": {}}, r"unknown field `gass`.*; did you mean 'gas'"),
        ({"gas": {}}, "names no gas"),
        ({"time": {"format": "%Y", "interval": "1 hour"}}, "time needs either column or columns"),
        (
            {"time": {"column": "dat", "format": "%Y", "interval": "1 hour"}},
            "line 1: there is no column 'dat'; did you mean 'date'",
        ),
        (
            {"time": {"column": "date", "format": "%Y-%m-%d", "interval": "1 hour"}},
            "line 2: time '19580329' is not of the form",
        ),
        ({"time": {"column": "date", "format": "%Y%m%d", "interval": "7 fortnights"}}, "interval '7 fortnights'"),
        ({"missing": []}, "line 8: co2 is '', expected a number"),
    ],
)
def test_a_mapping_that_does_not_fit(records, change, sentence):
    with pytest.raises(FileError, match=sentence):
        files.read(records / "keeling_mlo_co2_weekly.csv", mapping=KEELING | change)


def test_a_mapping_from_a_file_with_flags_and_an_offset(tmp_path):
    (tmp_path / "map.toml").write_text(
        'station = "lin-an"\nlatitude = 30.3\nlongitude = 119.7\naltitude = 139\ninlet_height = 50\ninlet = "top"\n'
        'encoding = "gb18030"\nmissing = ["-"]\n'
        '[time]\ncolumns = ["日期", "时间"]\nformat = "%Y-%m-%d %H:%M"\n'
        'utc_offset_hours = 8\nstamp = "end"\ninterval = "1 hour"\n'
        '[gas.ch4]\nvalue = "甲烷"\nunit = "ppm"\nscale = "WMO CH4 X2004A"\nn = "n"\n'
        'flag = { column = "f", good = ["0"], suspect = ["1"] }\n'
    )
    (tmp_path / "data.csv").write_bytes(
        "日期,时间,甲烷,n,f\n2026-01-01,09:00,1.95012,60,0\n2026-01-01,10:00,1.96,-,1\n2026-01-01,11:00,-,0,2\n".encode(
            "gb18030"
        )
    )
    ds = files.read(tmp_path / "data.csv", mapping=tmp_path / "map.toml")
    assert ds["time_bnds"].values[0, 0] == np.datetime64("2026-01-01T00:00")
    assert ds["ch4"].values[:2].tolist() == [1950.12, 1960.0]
    assert ds["ch4_flag"].values.tolist() == [1, 3, 9]
    assert (ds.attrs["inlet"], ds["ch4"].attrs["units"]) == ("top", "nmol mol-1")


def test_every_format_has_a_name():
    assert set(files.FORMATS) >= {row[2] for row in RECORDS}
    with pytest.raises(FileError, match="format 'csv' is not known, expected one of icos"):
        files.read(Path(__file__), format="csv")
    with pytest.raises(FileError, match="cannot be read: No such file"):
        files.read("/nowhere/at/all")
