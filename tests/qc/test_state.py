import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qc import state
from qc.errors import ConfigError, RuleError
from qc.flags import Flag
from qc.state import Basis, Rule, apply, fits, from_dicts, read, read_noaa
from qc.units import HPA_PER_TORR
from tests.strategies import EPOCH_MS, dataset

NAMES = {"gas": "co2", "site": "MKO", "instrument": "PIC"}


@pytest.fixture
def readings():
    pressure = [186.65, 180.0, np.nan, 186.65, 200.0, 186.65]
    time = [EPOCH_MS + 20_000 * i for i in range(6)]
    return dataset(time, {"cavity_pressure": pressure}, status=[963, 963, 963, 0, np.nan, 963])


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*", ["", "x"], []),
        ("brw", ["BRW", "brw"], ["brw2", ""]),
        ("!BRW", ["mlo"], ["BRW"]),
        ("CO2|CH4", ["co2", "ch4"], ["co", "co2|ch4"]),
        ("!BRW|SPO", ["MLO"], ["brw", "spo"]),
        ("pic*", ["Picarro G2301"], ["LGR-pic"]),
        ("*pic", ["lgr-pic"], ["pic2"]),
    ],
)
def test_patterns(pattern, yes, no):
    assert all(fits(pattern, name) for name in yes)
    assert not any(fits(pattern, name) for name in no)


def test_range_rule_judges_the_values_of_its_own_row(readings):
    outcome = apply(readings, [Rule("cavity_pressure", minimum=186.0, maximum=187.0)], **NAMES)
    assert outcome.flag.tolist() == [1, 4, 1, 1, 4, 1]
    assert outcome.rule.tolist() == [-1, 0, -1, -1, 0, -1]
    assert outcome.not_evaluated == ()


def test_limits_are_included(readings):
    outcome = apply(readings, [Rule("cavity_pressure", minimum=180.0, maximum=200.0)], **NAMES)
    assert outcome.flag.tolist() == [1] * 6


def test_status_is_per_model(readings):
    rules = from_dicts([{"quantity": "status", "min": 963, "max": 963, "model": "Picarro G2301"}])
    assert apply(readings, rules, model="Picarro G2301", **NAMES).flag.tolist() == [1, 1, 1, 4, 1, 1]
    assert apply(readings, rules, model="Picarro G4301", **NAMES).flag.tolist() == [1] * 6


def test_the_first_that_fires_wins(readings):
    rules = from_dicts(
        [
            {"quantity": "cavity_pressure", "max": 190, "flag": "suspect"},
            {"quantity": "cavity_pressure", "min": 185, "max": 187},
        ]
    )
    outcome = apply(readings, rules, **NAMES)
    assert outcome.flag.tolist() == [1, Flag.BAD, 1, 1, Flag.SUSPECT, 1]
    assert outcome.rule.tolist() == [-1, 1, -1, -1, 0, -1]


def test_dates_are_half_open(readings):
    start, end = readings["time"].values[[1, 4]]
    rule = from_dicts([{"quantity": "any", "start": str(start), "end": str(end) + "Z"}])
    assert apply(readings, rule, **NAMES).flag.tolist() == [1, 4, 4, 4, 1, 1]


def test_variability_is_that_of_the_window(readings):
    # Windows of 60 s from the epoch: rows 0-2 (186.65, 180.0, none), 3-5 (186.65, 200.0, 186.65).
    assert EPOCH_MS % 60_000 == 20_000
    shifted = readings.assign_coords(time=readings["time"] - np.timedelta64(20, "s"))
    first, second = np.std([186.65, 180.0], ddof=1), np.std([186.65, 200.0, 186.65], ddof=1)
    assert first < 5 < second
    rule = Rule("cavity_pressure", Basis.VARIABILITY, minimum=0, maximum=5.0)
    assert apply(shifted, [rule], **NAMES).flag.tolist() == [1, 1, 1, 4, 4, 4]
    rule = Rule("cavity_pressure", Basis.VARIABILITY, maximum=first - 1e-9)
    assert apply(shifted, [rule], **NAMES).flag.tolist() == [4] * 6


def test_one_value_has_no_variability(readings):
    rule = Rule("cavity_pressure", Basis.VARIABILITY, minimum=1.0, maximum=2.0)
    assert apply(readings.isel(time=[0]), [rule], **NAMES).flag.tolist() == [1]


def test_only_the_rows_asked_about(readings):
    rule = Rule("cavity_pressure", minimum=186.0, maximum=187.0)
    assert apply(readings, [rule], rows=np.array([1, 3]), **NAMES).flag.tolist() == [4, 1]


def test_what_cannot_be_evaluated_is_said(readings):
    rules = [Rule("flow", minimum=1), Rule("cavity_pressure", minimum=1), Rule("flow", gas="ch4", minimum=1)]
    outcome = apply(readings.isel(time=[2]), rules, **NAMES)
    assert outcome.flag.tolist() == [Flag.GOOD]
    assert len(outcome.not_evaluated) == 2
    assert "have no flow" in outcome.not_evaluated[0]
    assert "no row of co2 has a cavity_pressure" in outcome.not_evaluated[1]


@pytest.mark.parametrize(
    "row",
    [
        {"quantity": "cavity_pressure_torr", "min": 139.6, "max": 140.4},
        {"quantity": "cavity_pressure", "unit": "torr", "min": 139.6, "max": 140.4},
        {"quantity": "cavity_pressure", "min": 139.6 * HPA_PER_TORR, "max": 140.4 * HPA_PER_TORR},
        {"quantity": "cavity_pressure", "unit": "Pa", "min": 13960.0 * HPA_PER_TORR, "max": 14040.0 * HPA_PER_TORR},
    ],
)
def test_pressure_units_are_converted_on_reading(row):
    (rule,) = from_dicts([row])
    assert rule.quantity == "cavity_pressure"
    assert rule.minimum == pytest.approx(186.118, abs=1e-3)
    assert rule.maximum == pytest.approx(187.185, abs=1e-3)


def test_a_spread_of_temperatures_has_no_offset():
    rules = from_dicts(
        [
            {"quantity": "cavity_temperature", "unit": "K", "basis": "V", "max": 0.5},
            {"quantity": "cavity_temperature", "unit": "K", "max": 318.15},
        ]
    )
    assert rules[0].maximum == 0.5
    assert rules[1].maximum == pytest.approx(45.0)


def test_all_faults_of_a_table_come_at_once():
    with pytest.raises(RuleError) as caught:
        from_dicts(
            [
                {"quantity": "cavity_presure", "min": 1},
                {"quantity": "flow"},
                {"quantity": "flow", "min": 2, "max": 1},
                {"quantity": "flow", "min": 1, "flag": "good", "basis": "X", "unit": "torr", "sight": "a"},
                {"quantity": "flow", "min": "low", "start": "yesterday"},
            ]
        )
    text = str(caught.value)
    for words in (
        "rules[0].quantity: is 'cavity_presure'",
        "rules[1].min: is missing and so is max",
        "rules[2].min: is 2, above max 1",
        "rules[3].flag: is 'good', expected one of bad, suspect",
        "rules[3].basis",
        "rules[3].unit: is 'torr', expected one of mL min-1, L min-1",
        "rules[3].sight: is not known, did you mean 'site'?",
        "rules[4].min: is 'low', expected a number",
        "rules[4].start: is 'yesterday'",
    ):
        assert words in text, (words, text)


def test_toml_table(tmp_path):
    path = tmp_path / "rules.toml"
    path.write_text(
        '[[rule]]\nquantity = "cavity_pressure_torr"\nmin = 139.6\nmax = 140.4\nstart = 2024-01-01\nend = "*"\n'
        '[[rule]]\nquantity = "status"\nmin = 963\nmax = 963\nstart = 2024-01-01T08:00:00+08:00\n',
        encoding="utf-8",
    )
    rules = read(path)
    assert [rule.start for rule in rules] == [np.datetime64("2024-01-01", "ns")] * 2
    path.write_text("[[rules]]\n", encoding="utf-8")
    with pytest.raises(RuleError, match="did you mean 'rule'"):
        read(path)
    path.write_text("[[rule", encoding="utf-8")
    with pytest.raises(ConfigError, match="is not TOML"):
        read(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read(tmp_path / "absent.toml")


def test_noaas_own_table(shared):
    table = read_noaa(shared / "data/qc_rules/insitu_flag.conf")
    assert len(table.rules) + len(table.left_out) == 62
    assert len(table.rules) == 30
    assert all("no quantity of ours" in sentence for sentence in table.left_out)
    mko = [rule for rule in table.rules if rule.concerns(gas="co2", site="MKO", instrument="pic")]
    first = mko[0]
    assert (first.quantity, first.letter, first.flag) == ("cavity_pressure", "P", Flag.BAD)
    assert first.minimum == pytest.approx(139.8 * HPA_PER_TORR)
    assert first.comment == "Cell pressure out of range"
    brw = [rule for rule in table.rules if rule.concerns(gas="n2o", site="brw", instrument="lgr")]
    assert {rule.basis for rule in brw} == {Basis.RANGE, Basis.VARIABILITY}
    assert any(rule.quantity == state.ANY and rule.start == np.datetime64("2019-11-06T01") for rule in table.rules)


def test_noaas_table_applies(shared, readings):
    rules = read_noaa(shared / "data/qc_rules/insitu_flag.conf").rules
    outcome = apply(readings, rules, **NAMES)
    assert outcome.flag.tolist() == [1, 4, 1, 1, 4, 1]
    assert rules[outcome.rule[1]].letter == "P"


def test_a_broken_noaa_line_is_named(tmp_path):
    path = tmp_path / "flag.conf"
    path.write_text("# c\n* MKO * * * flow R 1 2\n* MKO * * * flow R a 2 & ; x\n", encoding="utf-8")
    with pytest.raises(RuleError, match=r"(?s)flag.conf:2: has 9 columns, expected 10.*flag.conf:3.min: is 'a'"):
        read_noaa(path)


@given(
    st.lists(st.one_of(st.integers(0, 50).map(float), st.just(float("nan"))), max_size=40),
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=4),
)
def test_rules_as_a_plain_loop_applies_them(flows, limits):
    rules = [Rule("flow", minimum=min(pair), maximum=max(pair)) for pair in limits]
    ds = dataset([EPOCH_MS + 1000 * i for i in range(len(flows))], {"flow": flows})
    outcome = apply(ds, rules, **NAMES)
    for i, flow in enumerate(flows):
        fired = [k for k, rule in enumerate(rules) if flow < rule.minimum or flow > rule.maximum]
        assert outcome.rule[i] == (fired[0] if fired else -1)
        assert outcome.flag[i] == (Flag.BAD if fired else Flag.GOOD)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=30), st.integers(1, 40))
def test_window_deviation_is_the_sample_sd(flows, seconds):
    ds = dataset([EPOCH_MS + 1000 * i for i in range(len(flows))], {"flow": flows})
    rule = Rule("flow", Basis.VARIABILITY, maximum=1.0, window_seconds=seconds)
    got = state._judged(ds, rule)
    start = EPOCH_MS // 1000
    for i in range(len(flows)):
        window = [x for k, x in enumerate(flows) if (start + k) // seconds == (start + i) // seconds]
        if len(window) < 2:
            assert np.isnan(got[i])
        else:
            assert got[i] == pytest.approx(np.std(window, ddof=1), rel=1e-9, abs=1e-9)
