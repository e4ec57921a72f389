import csv
import datetime as dt
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inversion import inventory
from inversion.inventory import Entry, Inventory, InventoryError, Period
from inversion.inventory.delimited import parse
from inversion.inventory.entry import CategoryError, PeriodError, category
from inversion.inventory.mass import UnitError
from inversion.inventory.mass import parse as unit
from inversion.provinces import PROVINCES

PLAIN = """region,gas,category,period,value,unit,sigma,source,vintage
CN-ZJ,co2,0,2019,381407.215,kt,19070,CEADs,2021
330000,ch4,1B1,2019-03,12.5,万吨,,NBS,2021
江苏,ch4,0,2019-01/2019-02,0.25,Tg,0.03,NBS,2021
CN-XZ,co2,0,2019,NE,kt,,CEADs,2021
CN-HK,co2,0,2019,"NO, IE",kt,,CEADs,2021
"""

days = st.dates(dt.date(1990, 1, 1), dt.date(2050, 1, 1))
periods = st.tuples(days, st.integers(1, 1500)).map(lambda p: Period(p[0], p[0] + dt.timedelta(days=p[1])))
texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=12).map(str.strip)
amounts = st.floats(-1e12, 1e12, allow_nan=False)


@st.composite
def entries(draw):
    valued = draw(st.booleans())
    return Entry(
        region=draw(st.sampled_from(PROVINCES)).iso,
        gas=draw(st.sampled_from(["co2", "ch4", "n2o", "sf6"])),
        period=draw(periods),
        category=draw(st.sampled_from(["0", "1", "1.A.1.a", "3.C.7", "5.B"])),
        value=draw(amounts) if valued else None,
        sigma=draw(st.none() | st.floats(0, 1e12)) if valued else None,
        notation="" if valued else draw(st.sampled_from(["NE", "NO", "IE", "C", "NA", "NO,IE"])),
        source=draw(texts),
        vintage=draw(texts),
        published=draw(texts),
        fuel=draw(st.sampled_from(["", "process", "Raw_Coal"])),
        scope=draw(st.sampled_from([1, 2])),
        part=draw(st.booleans()),
        unit=draw(st.sampled_from(["", "kt", "Mt CO2", "万吨"])),
    )


def test_plain_csv():
    zhejiang, coal, jiangsu, xizang, hongkong = parse(PLAIN, name="ledger.csv").entries
    assert zhejiang == Entry(
        region="CN-ZJ",
        gas="co2",
        period=Period(dt.date(2019, 1, 1), dt.date(2020, 1, 1)),
        value=381407.215,
        sigma=19070.0,
        source="CEADs",
        vintage="2021",
        place="ledger.csv:2",
        unit="kt",
    )
    assert (coal.region, coal.category, coal.value, coal.sigma) == ("CN-ZJ", "1.B.1", 125.0, None)
    assert (coal.period.start, coal.period.end) == (dt.date(2019, 3, 1), dt.date(2019, 4, 1))
    assert jiangsu.region == "CN-JS"
    assert jiangsu.value == pytest.approx(250.0)
    assert jiangsu.sigma == pytest.approx(30.0)
    assert jiangsu.period.end == dt.date(2019, 3, 1)
    # A notation key is not a zero.
    assert (xizang.value, xizang.notation) == (None, "NE")
    assert (hongkong.value, hongkong.notation) == (None, "NO,IE")


def test_ledger_is_an_annual_rate_and_nan_where_there_is_nothing():
    text = "region,gas,period,value,unit,sigma\nCN-ZJ,ch4,2020-02,10,kt,1\nCN-SH,ch4,2020-02,NE,kt,\n"
    ledger = parse(text).ledger(["CN-SH", "CN-ZJ", "CN-BJ"])
    np.testing.assert_allclose(ledger.rate, [np.nan, 10 * 365.25 / 29, np.nan])
    np.testing.assert_allclose(ledger.sigma, [np.nan, 365.25 / 29, np.nan])
    assert ledger.notation == ("NE", "", "")


def test_a_calendar_year_is_one_year_leap_or_not():
    assert Period.parse("2019").years == Period.parse("2020").years == 1.0
    assert Period.parse("2019/2021").years == 3.0
    assert Period.parse("2020-01").years == pytest.approx(31 / 365.25)


@pytest.mark.parametrize("what", ["gas", "category", "period", "vintage"])
def test_ledger_guesses_nothing(what):
    rows = {
        "region": "CN-ZJ",
        "gas": "co2",
        "category": "1",
        "period": "2019",
        "value": "1",
        "unit": "kt",
        "vintage": "a",
    }
    other = rows | {"region": "CN-JS", what: {"gas": "ch4", "category": "2", "period": "2020", "vintage": "b"}[what]}
    text = ",".join(rows) + "\n" + ",".join(rows.values()) + "\n" + ",".join(other.values()) + "\n"
    with pytest.raises(InventoryError, match=f"2 {what} values.*choose one with {what}="):
        parse(text).ledger(["CN-ZJ"])
    assert parse(text).ledger(["CN-ZJ"], **{what: rows[what]}).rate[0] == 1.0
    with pytest.raises(InventoryError, match="It has no entry of gas n2o: it holds gas c"):
        parse(text).ledger(["CN-ZJ"], gas="n2o")


def test_every_fault_is_reported_at_once_with_its_line():
    text = (
        "region,gas,category,period,value,unit,sigma\n"
        "Atlantis,co2,0,2019,1,kt,\n"
        "CN-ZJ,co2,0,2019-13,1,kt,\n"
        'CN-ZJ,co2,0,2019,"1,234",kt,\n'
        "CN-ZJ,co2,0,2019,,kt,\n"
        "CN-ZJ,co2,9.Z,2019,1,furlong,-3\n"
        "CN-ZJ,co2,0,2019\n"
        "CN-ZJ,co2,0,2019,1,kt,\n"
        "浙江,co2,0,2019,2,kt,\n"
    )
    with pytest.raises(InventoryError) as caught:
        parse(text, name="ledger.csv")
    message = str(caught.value)
    for line, words in [
        (2, "'Atlantis'"),
        (3, "'2019-13' holds no date"),
        (4, "'1,234' is no number"),
        (5, "the value is empty"),
        (6, "'9.Z' is no IPCC"),
        (6, "'furlong' is no mass"),
        (6, "sigma -3 is negative"),
        (7, "4 cells, the header 7"),
        (9, "already there (ledger.csv:8)"),
    ]:
        assert any(f"ledger.csv:{line}:" in fault and words in fault for fault in caught.value.faults), (line, message)


def test_a_fault_of_many_lines_is_said_once():
    text = "region,gas,period,value,unit\n" + "".join(f"CN-ZJ,co2,{year},1,stone\n" for year in range(1990, 2020))
    with pytest.raises(InventoryError) as caught:
        parse(text)
    assert len(caught.value.faults) == 1
    assert "also lines 3, 4" in str(caught.value)


def test_columns_missing_or_misspelt():
    with pytest.raises(InventoryError, match=r"no column 'unit'.*'sgima' \(is 'sigma' meant\?\)"):
        parse("region,gas,period,value,sgima\n")


def test_a_lopsided_interval_is_kept():
    text = "region,gas,period,value,unit,low,high\nCN-ZJ,ch4,2019,10,Gg,{}\n"
    assert parse(text.format("6,18")).entries[0].interval == (6.0, 18.0)
    dataset = parse(text.format("6,18")).to_dataset()
    assert (dataset.low.item(), dataset.high.item()) == (6.0, 18.0)
    # Standard deviation of a lognormal with these ends, by drawing from it.
    spread = np.log(18 / 6) / (2 * 1.959963984540054)
    drawn = np.random.default_rng(1).lognormal(np.log(10) - spread**2 / 2, spread, 400_000)
    assert parse(text.format("6,18")).ledger(["CN-ZJ"]).sigma[0] == pytest.approx(drawn.std(), rel=0.01)
    assert parse(text.format("-9.6,29.6")).entries[0].deviation == pytest.approx(10.0, rel=1e-4)
    with pytest.raises(InventoryError, match="not inside its 95 % interval from 11 to 18"):
        parse(text.format("11,18"))
    with pytest.raises(InventoryError, match="only low is given"):
        parse(text.format("6,"))


def test_a_ledger_takes_no_parts_and_no_scope_2():
    head = "region,gas,period,value,unit,published,part,scope\n"
    with pytest.raises(InventoryError, match=r"only parts of the category for CN-ZJ.*inventory\.totals"):
        parse(f"{head}CN-ZJ,co2,2019,1,kt,Coal,yes,\nCN-ZJ,co2,2019,1,kt,Oil,yes,\n").ledger(["CN-ZJ"])
    with pytest.raises(InventoryError, match=r"of CN-BJ is Scope 2"):
        parse(f"{head}CN-BJ,co2,2019,1,kt,,,2\n").ledger(["CN-BJ"])
    with pytest.raises(InventoryError, match="CN-ZJ 0 2019 is there twice"):
        parse(f"{head}CN-ZJ,co2,2019,1,kt,a,,\nCN-ZJ,co2,2019,1,kt,b,,\n").ledger(["CN-ZJ"])
    both = parse(f"{head}CN-ZJ,co2,2019,3,kt,,,\nCN-ZJ,co2,2019,1,kt,Coal,yes,\nCN-ZJ,co2,2019,9,kt,,,2\n")
    assert both.ledger(["CN-ZJ"]).rate[0] == 3.0


def test_percent_uncertainties():
    text = "region,gas,period,value,unit,{}\nCN-ZJ,co2,2019,-200,kt,10\n"
    assert parse(text.format("sigma_percent")).entries[0].sigma == pytest.approx(20.0)
    assert parse(text.format("uncertainty_percent_95")).entries[0].sigma == pytest.approx(20.0 / 1.96, rel=1e-4)
    with pytest.raises(InventoryError, match="more than once"):
        parse("region,gas,period,value,unit,sigma,sigma_percent\nCN-ZJ,co2,2019,1,kt,1,1\n")


@pytest.mark.parametrize(
    ("text", "gas", "kilotonnes"),
    [
        ("kt", "co2", 1.0),  # not the knot
        ("Gg", "ch4", 1.0),
        ("Mt CO2", "co2", 1e3),
        ("万吨", "co2", 10.0),
        ("10^4 t CO2", "co2", 10.0),
        ("t CO2e", "co2", 1e-3),
        ("kt C", "co2", 44.0095 / 12.0107),
        ("kt C", "ch4", 16.0425 / 12.0107),
        ("Tg yr-1", "ch4", 1e3),
        ("kt CH4/yr", "ch4", 1.0),
    ],
)
def test_units(text, gas, kilotonnes):
    assert unit(text, gas).factor == pytest.approx(kilotonnes)
    assert unit(text, gas).per_year == ("yr" in text)


def test_a_rate_over_part_of_a_year_is_that_part():
    text = "region,gas,period,value,unit\nCN-ZJ,ch4,2019-01,12,kt yr-1\n"
    assert parse(text).entries[0].value == pytest.approx(12 * 31 / 365.25)
    assert parse(text).ledger(["CN-ZJ"]).rate[0] == pytest.approx(12)


@pytest.mark.parametrize(
    "text", ["", "m", "ppb", "kt CO2", "kt CO2e", "mt", "10**10**10 t", "__import__('os')", "kt kt"]
)
def test_what_is_no_mass_of_methane_is_refused(text):
    with pytest.raises(UnitError):
        unit(text, "ch4")


@pytest.mark.parametrize(
    ("text", "code"), [("1A1a", "1.A.1.a"), ("1.A.1.a", "1.A.1.a"), ("3C7", "3.C.7"), ("0", "0"), ("4", "4")]
)
def test_categories(text, code):
    assert category(text) == code


@pytest.mark.parametrize("text", ["", "6", "A1", "1.a", "1..A", "total"])
def test_what_is_no_category(text):
    with pytest.raises(CategoryError):
        category(text)


@pytest.mark.parametrize("text", ["", "19", "2019-00", "2019/2018", "2019-2", "0000", "2019-02-30", "9999-12-31"])
def test_what_is_no_period(text):
    with pytest.raises(PeriodError):
        Period.parse(text)


@given(periods)
def test_a_period_is_read_back_as_written(period):
    assert Period.parse(str(period)) == period


@given(st.lists(entries(), max_size=8, unique_by=lambda e: e.key))
@settings(deadline=None)
def test_what_is_written_is_read_back(tmp_path_factory, made):
    path = inventory.write(Inventory(tuple(made)), tmp_path_factory.mktemp("inventory") / "ledger.csv")
    back = inventory.read(path)
    keep = ("region", "gas", "period", "category", "value", "sigma", "notation", "source", "vintage")
    keep += ("published", "fuel", "scope", "part", "interval", "unit")
    assert [[getattr(e, name) for name in keep] for e in back.entries] == [
        [getattr(e, name) for name in keep] for e in made
    ]


cells = st.one_of(
    st.sampled_from(
        ["CN-ZJ", "浙江", "co2", "2019", "NE", "1.5", "-1", "kt", "万吨", "1A1", "", "nan", "1e999", '"', "\x00"]
    ),
    st.text(max_size=6),
)


@given(st.lists(st.lists(cells, min_size=1, max_size=9), max_size=6))
def test_whatever_the_rows_hold_it_is_read_or_refused_in_sentences(rows):
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(["region", "gas", "period", "value", "unit", "category", "sigma"])
    for row in rows:
        writer.writerow([cell.replace("\x00", "") for cell in row])
    read, faults = read_or_faults(stream.getvalue())
    assert all("inventory:" in fault for fault in faults)
    assert all((entry.value is None) == bool(entry.notation) for entry in read)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text):
    read, faults = read_or_faults(text)
    assert not (read and faults)


def read_or_faults(text):
    try:
        return parse(text).entries, ()
    except InventoryError as error:
        return (), error.faults


def test_province_totals_through_a_mapping(shared, tmp_path):
    mapping = tmp_path / "ceads.toml"
    mapping.write_text(
        'ignore = ["emissions_id"]\n[columns]\nregion = "actor_id"\nperiod = "year"\nvalue = "total_emissions"\n'
        'source = "datasource_id"\n[constants]\ngas = "co2"\nunit = "t"\nvintage = "2021"\n',
    )
    path = shared / "data" / "inventory" / "ceads_province_totals.csv"
    read = inventory.read(path, mapping=mapping)
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(read.entries) == len(rows) == 660
    by_key = {(row["actor_id"], row["year"]): float(row["total_emissions"]) for row in rows}
    for entry in read.entries:
        assert entry.value == pytest.approx(by_key[entry.region, str(entry.period)] / 1000)
    ledger = read.ledger([unit.iso for unit in PROVINCES], period="2019")
    assert int(np.isnan(ledger.rate).sum()) == 4  # Xizang, Taiwan, Hong Kong, Macao are not in it


def test_a_file_in_another_encoding_says_so_and_is_read(tmp_path):
    path = tmp_path / "ledger.csv"
    path.write_bytes("region,gas,period,value,unit\n浙江,co2,2019,1,万吨\n".encode("gb18030"))
    with pytest.raises(InventoryError, match="Chinese spreadsheets write gb18030"):
        inventory.read(path)
    assert inventory.read(path, encoding="gb18030").entries[0].value == 10.0


def test_unknown_format_and_mapping_keys(tmp_path):
    with pytest.raises(InventoryError, match="'crf' is not known"):
        inventory.read(tmp_path / "a.csv", format="crf")
    with pytest.raises(InventoryError, match="There is no file"):
        inventory.read(tmp_path / "a.xlsx")
    (tmp_path / "a.xlsx").write_text("region,gas")
    with pytest.raises(InventoryError, match=r"no xlsx workbook.*save it as CSV"):
        inventory.read(tmp_path / "a.xlsx")
    with pytest.raises(InventoryError, match="save it as CSV or xlsx"):
        inventory.read(tmp_path / "a.ods")
    with pytest.raises(InventoryError, match=r"read as 'csv'.*takes encoding, mapping, not unit"):
        inventory.read(tmp_path / "a.csv", unit="kt")
    with pytest.raises(InventoryError, match=r"'colums' \(is 'columns' meant\?\)"):
        parse("", mapping={"colums": {}})
    with pytest.raises(InventoryError, match=r"\[columns\] not known: 'regon' \(is 'region' meant\?\)"):
        parse("", mapping={"columns": {"regon": "x"}})


def test_dataset_keeps_units_keys_and_periods():
    dataset = parse(PLAIN).to_dataset()
    assert dataset.value.attrs["units"] == "kt"
    assert list(dataset.notation.values) == ["", "", "", "NE", "NO,IE"]
    assert dataset.period_bnds.values[2].astype("datetime64[D]").tolist() == [dt.date(2019, 1, 1), dt.date(2019, 3, 1)]
    assert Inventory(()).to_dataset().sizes["entry"] == 0


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(InventoryError, match=r"nowhere\.csv cannot be used: There is no file"):
        inventory.read("nowhere.csv")


def test_numbers_of_numpy_are_written_as_numbers(tmp_path):
    third = np.float64(1) / 3
    numbers = {"value": third, "sigma": third / 2, "interval": (third / 3, third * 3)}
    entry = Entry(region="CN-ZJ", gas="co2", period=Period.parse("2019"), **numbers)
    back = inventory.read(inventory.write(Inventory((entry,)), tmp_path / "ledger.csv")).entries[0]
    assert (back.value, back.sigma, back.interval) == (entry.value, entry.sigma, entry.interval)
