"""The vocabulary of reports: whole in both languages, and it knows the sentences that comparisons are made of."""

import doctest
import re
import string

import numpy as np
import pytest
import xarray as xr

from inversion import maps, vocabulary
from inversion.crosscheck import Rule, verdict
from inversion.inventory.entry import NOTATION_KEYS, Ledger, Period
from inversion.report import rows
from inversion.vocabulary import CHINESE, ENGLISH, LANGUAGES, LanguageError, Vocabulary
from tests.inversion.comparisons import made_comparison

SECTIONS = {name: part for name, part in vocabulary.document().items() if isinstance(part, dict)}
WORDS = [(f"{section}.{name}", entry) for section, part in SECTIONS.items() for name, entry in part.items()]


@pytest.mark.parametrize(("key", "entry"), WORDS, ids=[key for key, _ in WORDS])
def test_every_word_is_there_in_both_languages_with_the_same_blanks(key, entry):
    assert set(entry) == set(LANGUAGES)
    blanks = [sorted({name for _, name, _, _ in string.Formatter().parse(text) if name}) for text in entry.values()]
    assert blanks[0] == blanks[1]
    if key != "page.english_map":
        assert all(entry.values())


def test_chinese_words_are_chinese():
    plain = (
        "column.z",
        "column.p",
        "column.gbt2260",
        "column.neighbour_correlation",
        "assumption.sigma",
        "language.name",
    )
    latin = [key for key, e in WORDS if not re.search("[\u4e00-\u9fff]", e["zh"]) and key not in plain and e["zh"]]
    assert [key for key in latin if key not in ("page.under", "page.separator", "summary.join", "summary.named")] == []


@pytest.mark.parametrize("control", ["region", "family"])
def test_the_rule_reads_as_the_rule_itself_says_it(control):
    rule = Rule(level=0.01, min_share=0.4, control=control)
    attrs = {n: getattr(rule, n) for n in ("level", "min_share", "min_covered", "critical_z", "control")}
    assert rows.rule(xr.Dataset(attrs=attrs)) == str(rule)
    assert "可分辨" in rows.rule(xr.Dataset(attrs=attrs), CHINESE)


def test_every_reason_of_a_verdict_is_known_in_chinese():
    codes = ("CN-ZJ", "CN-JS", "CN-SH", "CN-AH", "CN-JX", "CN-FJ")
    nan = np.nan
    seen = xr.Dataset(
        {n: (("region", "region_cov"), np.eye(6)) for n in ("inversion_covariance", "prior_covariance")},
        {"region": list(codes), "covered": ("region", [0.0, 0.5, 1, 1, 1, 1])},
    )
    seen["inversion_covariance"][5, 5] = nan
    rate, sigma = np.array([1.0, 1, nan, nan, 1, 1]), np.array([1.0, 1, nan, nan, nan, 1])
    ledger = Ledger(codes, rate, sigma, ("", "", "NE,IE", "", "", ""), "ch4", "0", "", "", Period.parse("2023"))
    said = verdict.reasons(seen, ledger, np.full(6, 0.9), Rule())
    low = Ledger(codes, np.ones(6), np.ones(6), ("",) * 6, "ch4", "0", "", "", Period.parse("2023"))
    said += verdict.reasons(seen, low, np.full(6, 0.1), Rule())
    refused = seen.assign_attrs(findings='[{"grade": "refuse", "code": "a", "sentence": "It cannot be."}]')
    said += verdict.reasons(refused, low, np.full(6, 0.9), Rule())
    assert len(set(said)) == 8
    for sentence in set(said):
        assert CHINESE.sentence(sentence) != sentence, sentence
        assert ENGLISH.sentence(sentence) == sentence
    assert CHINESE.sentence(said[2]) == "清单标记为 NE (未估算), IE (计入他处)"
    unseen = verdict.unseen(0.2, 0.5, "its trend")
    assert CHINESE.sentence(unseen) == "观测网看到其趋势的 20 %，需要 50 %"


def test_cautions_and_the_border_remark_are_known_in_chinese():
    finding = '[{"grade": "warn", "code": "chi2", "sentence": "x"}]'
    said = verdict.caution(xr.Dataset(attrs={"findings": finding}))
    assert said
    for sentence in (said, verdict.REMARK, maps.dash_line_finding()):
        assert CHINESE.sentence(sentence) != sentence, sentence


def test_all_that_a_report_says_of_a_table_is_chinese():
    comparison = made_comparison()
    said = rows.summary(comparison, CHINESE) + rows.limitations(comparison, CHINESE)
    said += [label for label, _ in rows.assumptions(comparison, CHINESE) + rows.diagnostics(comparison, CHINESE)]
    for sentence in said:
        assert not re.search(r"\b(the|is|of|and|region|ledger)\b", sentence), sentence


def test_notation_keys_and_languages():
    assert set(SECTIONS["notation"]) == set(NOTATION_KEYS)
    assert {key: ENGLISH(f"notation.{key}") for key in NOTATION_KEYS} == NOTATION_KEYS
    assert CHINESE.sentence("A sentence of nobody.") == "A sentence of nobody."
    with pytest.raises(LanguageError, match="en and zh, not in 'de'"):
        Vocabulary("de")
    assert CHINESE.name("Zhejiang", "浙江", "CN-ZJ") == "浙江"
    assert CHINESE.name("Zhejiang", "", "CN-ZJ") == "Zhejiang"
    assert ENGLISH.name("", "", "CN-ZJ") == "CN-ZJ"


def test_examples():
    result = doctest.testmod(vocabulary)
    assert result.attempted >= 2
    assert result.failed == 0
