"""Spikes by two methods, each against itself written out plainly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qc import spikes
from qc.errors import QcError

MINUTE = 60 * 10**9
START = 1_767_225_600 * 10**9


def minutes(n, *, at=START):
    return at + np.arange(n) * MINUTE


def plain_sd(time, value, alpha, gap):
    """The SD method as its paper has it, value by value."""
    found = np.zeros(value.size, bool)
    there = [i for i in range(value.size) if np.isfinite(value[i])]
    week = time // spikes.WEEK_NS
    sigma = {}
    for w in set(week[there].tolist()):
        part = np.array([value[i] for i in there if week[i] == w])
        low, high = np.quantile(part, (0.25, 0.75))
        quiet = part[(part >= low) & (part <= high)]
        sigma[w] = quiet.std() if quiet.size else np.nan
    unflagged, n, before = None, 0, None
    for i in there:
        s = sigma[week[i]]
        anew = before is None or time[i] - time[before] > gap * 1e9
        if not anew and value[i] >= unflagged + alpha * s + np.sqrt(n) * s:
            found[i], n = True, n + 1
        else:
            unflagged, n = value[i], 0
        before = i
    return found


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    alpha=st.sampled_from([0.5, 1.0, 3.0]),
    size=st.integers(0, 300),
    holes=st.booleans(),
)
def test_sd_is_the_method_of_its_paper(seed, alpha, size, holes):
    rng = np.random.default_rng(seed)
    value = 400 + np.cumsum(rng.normal(0, 0.3, size)) + rng.exponential(2.0, size) * (rng.random(size) < 0.1)
    time = START + np.cumsum(rng.choice([1, 1, 1, 90], size)) * MINUTE if size else minutes(0)
    if holes:
        value[rng.random(size) < 0.1] = np.nan
    np.testing.assert_array_equal(spikes.sd(time, value, alpha=alpha), plain_sd(time, value, alpha, 3600.0))


def test_sd_flags_all_of_a_spike_and_not_what_follows_it():
    value = np.full(2000, 400.0) + np.random.default_rng(1).normal(0, 0.05, 2000)
    value[1000:1020] += 3.0
    found = spikes.sd(minutes(2000), value)
    assert found[1000:1020].all()
    assert not spikes.sd(minutes(2000), value, alpha=1000.0).any()
    # A gap begins anew: the step behind it is no spike.
    step = np.r_[value[:900], value[900:] + 5.0]
    time = np.r_[minutes(900), minutes(1100, at=START + 2000 * MINUTE)]
    assert not spikes.sd(time, step)[900]


def plain_line(mean, weight, half):
    """The local line, minute by minute."""
    out = np.full(mean.size, np.nan)
    for i in range(mean.size):
        j = np.arange(max(0, i - half), min(mean.size, i + half + 1))
        k = (1 - np.abs((j - i) / (half + 1)) ** 3) ** 3
        w = k * weight[j]
        if (weight[j] > 0).sum() < 3:
            continue
        a = np.stack([np.ones(j.size), (j - i) / half], axis=1)
        out[i] = np.linalg.lstsq(np.sqrt(w)[:, None] * a, np.sqrt(w) * mean[j], rcond=None)[0][0]
    return out


def test_the_local_line_is_that_of_weighted_least_squares():
    rng = np.random.default_rng(2)
    mean, weight = rng.normal(size=200), rng.random(200)
    weight[50:90] = 0.0
    there = weight > 0
    every = spikes._Lines(mean, there, half=15, step=1)
    np.testing.assert_allclose(every.at_anchors(weight)[:200], plain_line(mean, weight, 15), atol=1e-8)
    np.testing.assert_allclose(every.fitted(weight), plain_line(mean, weight, 15), atol=1e-8)
    some = spikes._Lines(mean, there, half=15, step=7)
    np.testing.assert_allclose(some.at_anchors(weight)[:29], plain_line(mean, weight, 15)[::7], atol=1e-8)
    known = plain_line(mean, weight, 15)[::7]
    expected = np.interp(np.arange(1, 7) / 7, [0, 1], known[10:12])
    np.testing.assert_allclose(some.fitted(weight)[71:77], expected, atol=1e-8)


def test_rebs_finds_spikes_on_a_slope_and_the_line_below_them():
    rng = np.random.default_rng(3)
    n = 3000
    slope = 400 + np.arange(n) * 0.01 + 5 * np.sin(np.arange(n) / 1440 * 2 * np.pi)
    value = slope + rng.normal(0, 0.05, n)
    truth = np.zeros(n, bool)
    for begin, length in ((500, 5), (1000, 10), (1600, 15), (2200, 1)):
        value[begin : begin + length] += 2.0
        truth[begin : begin + length] = True
    found, baseline = spikes.rebs(minutes(n), value)
    assert found[truth].all()
    assert (found & ~truth).sum() < 0.01 * n
    np.testing.assert_allclose(baseline[60:-60], slope[60:-60], atol=0.25)
    # A dip is no spike.
    value[700:705] -= 4.0
    assert not spikes.rebs(minutes(n), value)[0][700:705].any()


def test_rebs_says_nothing_where_it_has_too_little():
    value = np.array([400.0, np.nan, 401.0])
    found, baseline = spikes.rebs(minutes(3), value)
    assert not found.any()
    assert np.isnan(baseline).all()
    assert spikes.rebs(minutes(0), np.empty(0))[0].size == 0
    # Several values of one minute count as one.
    dense = START + np.arange(600) * 10 * 10**9
    level = np.full(600, 400.0) + np.random.default_rng(4).normal(0, 0.01, 600)
    level[300:306] += 5.0
    assert spikes.rebs(dense, level)[0][300:306].all()


def test_parts_behind_long_gaps_do_not_know_each_other():
    rng = np.random.default_rng(5)
    part = 400 + rng.normal(0, 0.05, 300)
    alone = spikes.rebs(minutes(300), part)
    both = spikes.rebs(np.r_[minutes(300), minutes(300, at=START + 10_000 * MINUTE)], np.r_[part, part + 50])
    np.testing.assert_array_equal(both[0], np.r_[alone[0], alone[0]])
    np.testing.assert_allclose(both[1][:300], alone[1], atol=1e-9)


@pytest.mark.parametrize("method", [spikes.sd, spikes.rebs])
def test_what_cannot_be_is_said(method):
    with pytest.raises(QcError, match=r"time has shape \(2,\), value \(3,\)"):
        method(minutes(2), np.zeros(3))
    with pytest.raises(QcError, match="times do not increase, first at place 1: 2026-01-01T00:00"):
        method(np.array([START, START]), np.zeros(2))
    with pytest.raises(QcError, match="is 0, expected more than 0"):
        method(minutes(2), np.zeros(2), **({"alpha": 0} if method is spikes.sd else {"beta": 0}))
