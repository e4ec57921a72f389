"""Standards found, fitted, interpolated; twins with known drift and tanks, and the honesty of what is stated."""

import numpy as np
import pytest
from scipy import stats

from qc import calibration
from qc.calibration import Episode, Injections, Plan, Standard
from qc.errors import QcError
from qc.tank import Assignment, Tank, tanks

NS = 10**9
MINUTE, HOUR, DAY = 60 * NS, 3600 * NS, 86_400 * NS
START = 1_767_225_600 * NS
NAMES = ["low", "middle", "high"]


def tank(name, value, u=0.01):
    return Tank(name, (Assignment(np.datetime64("2025-06-01"), value, u),))


# --- tanks -----------------------------------------------------------------------------------


def test_a_tank_drifts_only_where_its_assignments_say_so():
    days = np.array(["2024-01-01", "2024-07-01", "2025-01-01", "2025-07-01"], dtype="datetime64[D]")
    steady = Tank("a", tuple(Assignment(d, v, 0.02) for d, v in zip(days, (400.0, 400.01, 399.99, 400.0), strict=True)))
    assert steady.degree == 0
    value, u = steady.at(days)
    np.testing.assert_allclose(value, 400.0, atol=1e-12)
    np.testing.assert_allclose(u, 0.01)
    rising = Tank("b", tuple(Assignment(d, v, 0.01) for d, v in zip(days, (400.0, 400.1, 400.2, 400.3), strict=True)))
    assert rising.degree == 1
    middle, _ = rising.at(np.array(["2024-10-01"], dtype="datetime64[D]"))
    assert middle[0] == pytest.approx(400.15, abs=2e-3)
    bent = Tank("c", tuple(Assignment(d, v, 0.01) for d, v in zip(days, (400.0, 400.3, 400.3, 400.0), strict=True)))
    assert bent.degree == 2
    # What lies beyond the assignments is less sure.
    _, u = rising.at(np.array(["2025-01-01", "2027-01-01"], dtype="datetime64[D]"))
    assert u[1] > 3 * u[0]


@pytest.mark.parametrize("rows", [(), (Assignment(np.datetime64("2025-01-01"), 400.0, 0.0),)])
def test_a_tank_without_a_value_or_without_its_uncertainty(rows):
    with pytest.raises(QcError, match=r"cylinder 'x'(: value 400.0 with uncertainty 0.0| has no assigned value)"):
        Tank("x", rows)


def test_tanks_of_rows():
    rows = [("a", np.datetime64("2025-01-01"), 1.0, 0.1), ("b", np.datetime64("2025-01-01"), 2.0, 0.1)]
    assert list(tanks([*rows, ("a", np.datetime64("2026-01-01"), 1.0, 0.1)])) == ["a", "b"]


# --- injections and episodes -----------------------------------------------------------------


def rows_of(stays, *, step=5):
    """Return time, value, port of stays (port, minutes, value), one after the other."""
    time, value, port = [], [], []
    now = START
    for name, minutes, level in stays:
        count = minutes * 60 // step
        time += [now + k * step * NS for k in range(count)]
        value += [level(k * step) if callable(level) else level for k in range(count)]
        port += [name] * count
        now += minutes * MINUTE
    return np.array(time), np.array(value), np.array(port, dtype=object)


STANDARDS = (Standard("2", "low"), Standard("3", "middle"), Standard("4", "high"))
PLAN = Plan(STANDARDS, flush_seconds=120)


def test_injections_are_the_stays_at_standards_after_flushing():
    flushing = [("2", 10, lambda s: 380.0 + 20 * (s < 115)), ("3", 10, 400.0), ("1", 30, 430.0), ("4", 2, 450.0)]
    found = calibration.injections(*rows_of(flushing), PLAN, NAMES)
    assert found.tank.tolist() == [0, 1]  # the last is not longer than its flushing
    np.testing.assert_allclose(found.mean, [380.0, 400.0])
    assert found.minutes.tolist() == [8, 8]
    assert ((found.start - START) // MINUTE).tolist() == [2, 12]


def test_minutes_and_injections_that_spread_too_much_are_left_out():
    noisy = lambda s: 400.0 + (0.5 if 300 <= s < 360 and s // 5 % 2 else 0.0)  # noqa: E731 one minute of ten
    drifting = lambda s: 400.0 + s / 600  # noqa: E731
    stays = rows_of([("2", 10, noisy), ("3", 10, drifting)])
    tight = Plan(standards=STANDARDS, stdev_minute=0.08, stdev_injection=0.06)
    found = calibration.injections(*stays, tight, NAMES)
    assert found.tank.tolist() == [0]
    assert found.minutes.tolist() == [7]
    assert calibration.injections(*stays, PLAN, NAMES).tank.tolist() == [0, 1]


def test_rows_without_a_value_do_not_count():
    time, value, port = rows_of([("2", 10, 380.0)])
    value[::2] = np.nan
    assert calibration.injections(time, value, port, PLAN, NAMES).minutes.tolist() == [8]
    value[:] = np.nan
    assert calibration.injections(time, value, port, PLAN, NAMES).tank.size == 0
    assert calibration.injections(time[:0], value[:0], port[:0], PLAN, NAMES).tank.size == 0


def rounds(values, *, at=START, length=10 * MINUTE):
    """Return injections of rounds through the tanks: one list of means a round."""
    flat = [(k, mean) for each in values for k, mean in enumerate(each)]
    start = np.array([at + i * length for i in range(len(flat))])
    return Injections(
        np.array([k for k, _ in flat]), start, start + length // 2, np.array([m for _, m in flat]),
        np.full(len(flat), 0.02), np.full(len(flat), 5),
    )  # fmt: skip


def together(*parts):
    return Injections(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def test_the_first_cycle_is_rejected_where_there_is_another():
    found = together(
        rounds([[379, 399, 449], [380, 400, 450], [380.02, 400.02, 450.02]]), rounds([[381, 401, 451]], at=START + DAY)
    )
    first, second = calibration.episodes(found, PLAN, 3)
    np.testing.assert_allclose(first.measured, [380.01, 400.01, 450.01])
    assert (first.entered.tolist(), first.rejected) == ([2, 2, 2], 3)
    np.testing.assert_allclose(second.measured, [381, 401, 451])  # the only cycle there is
    kept = calibration.episodes(found, Plan(standards=STANDARDS, reject_first=False), 3)
    assert kept[0].entered.tolist() == [3, 3, 3]


def test_a_tank_whose_cycles_disagree_is_left_out_and_with_too_few_the_episode():
    found = rounds([[0, 0, 0], [380, 400, 450], [381, 400, 450], [382, 400, 450]])
    strict = Plan(standards=STANDARDS, stdev_cycle=0.05)
    (episode,) = calibration.episodes(found, strict, 3)
    assert episode.entered.tolist() == [0, 3, 3]
    assert np.isnan(episode.measured[0])
    assert calibration.episodes(found, Plan(standards=STANDARDS, stdev_cycle=0.05, degree=2), 3) == []


# --- the fit ---------------------------------------------------------------------------------


def episode(at, measured, *, entered=3, spread=0.02):
    measured = np.asarray(measured, dtype=float)
    count = np.where(np.isnan(measured), 0, entered)
    return Episode(at, measured, count, np.full(measured.size, spread), 0)


def test_a_line_a_curve_and_an_offset_are_found_again():
    assigned = np.array([380.0, 400.0, 450.0, 420.0])
    cylinders = [tank(f"t{k}", a) for k, a in enumerate(assigned)]
    bent = assigned.copy()
    for _ in range(50):  # assigned = m + 1e-5 (m - 400)^2
        bent = assigned - 1e-5 * (bent - 400) ** 2
    for degree, measured in ((0, assigned - 0.3), (1, (assigned - 1.7) / 1.002), (2, bent)):
        found = calibration.fit([episode(START, measured), episode(START + DAY, measured)], cylinders, degree=degree)
        out = calibration.apply(found, np.full(4, START + HOUR), measured)
        np.testing.assert_allclose(out.value, assigned, atol=1e-9)
        np.testing.assert_allclose(found.residual, 0.0, atol=1e-9)
        assert not out.provisional.any()


def test_weights_covariance_and_gain_are_those_of_the_normal_equations():
    rng = np.random.default_rng(4)
    measured = np.array([380.0, 400.0, 450.0, 420.0]) + rng.normal(0, 0.1, 4)
    cylinders = [tank(f"t{k}", a, u) for k, (a, u) in enumerate([(380, 0.01), (400, 0.02), (450, 0.03), (420, 0.04)])]
    one = Episode(START, measured, np.array([1, 2, 3, 4]), np.full(4, 0.05), 0)
    found = calibration.fit([one], cylinders, degree=1)
    A = np.vander(measured - found.centre, 2, increasing=True)
    W = np.diag([1.0, 2.0, 3.0, 4.0])
    inverse = np.linalg.inv(A.T @ W @ A)
    np.testing.assert_allclose(found.gain[0], inverse @ A.T @ W, atol=1e-12)
    np.testing.assert_allclose(found.noise[0], inverse, rtol=1e-9)
    assert found.repeatability[0] == pytest.approx(0.05)
    out = calibration.apply(found, np.array([START]), np.array([410.0]))
    p = np.array([1.0, 410.0 - found.centre])
    expected = p @ inverse @ A.T @ W
    assert out.u_tanks[0] == pytest.approx(np.sqrt((expected**2 * np.array([0.01, 0.02, 0.03, 0.04]) ** 2).sum()))
    assert out.provisional[0]


def test_between_episodes_coefficients_go_in_a_line_and_beyond_they_are_held():
    cylinders = [tank("a", 380.0), tank("b", 450.0)]
    found = calibration.fit([episode(START, [380.0, 450.0]), episode(START + DAY, [379.0, 449.0])], cylinders)
    when = np.array([START - DAY, START, START + DAY // 4, START + DAY, START + 3 * DAY])
    out = calibration.apply(found, when, np.full(5, 400.0))
    np.testing.assert_allclose(out.value, [400.0, 400.0, 400.25, 401.0, 401.0], atol=1e-9)
    assert out.provisional.tolist() == [True, False, False, False, True]
    # Two episodes do not tell how much it drifts.
    assert np.isnan(out.u_calibration).all()
    assert np.isnan(calibration.apply(found, when, np.full(5, np.nan)).value).all()


def test_without_an_episode_or_with_too_few_standards():
    with pytest.raises(QcError, match="no calibration: not one episode has enough standards"):
        calibration.fit([], [tank("a", 380.0)])
    with pytest.raises(QcError, match="has 1 standards, a fit of degree 1 needs 2"):
        calibration.fit([episode(START, [380.0, np.nan])], [tank("a", 380.0), tank("b", 450.0)])


def test_what_was_final_stays_whatever_comes_later():
    """With a history, values between two episodes rest on what had come by the second."""
    rng = np.random.default_rng(5)
    cylinders = [tank("a", 380.0), tank("b", 450.0)]
    read = [[380.0 + rng.normal(0, 0.1), 450.0 + rng.normal(0, 0.1)] for _ in range(40)]
    every = [episode(START + k * DAY, values) for k, values in enumerate(read)]
    when = START + np.arange(0, 20 * DAY, 7 * HOUR)
    value = 400 + rng.normal(0, 5, when.size)
    now, later = (
        calibration.apply(calibration.fit(every[:n], cylinders, history_days=10), when, value) for n in (22, 40)
    )
    for ours, theirs in zip(now, later, strict=True):
        assert ours.tobytes() == theirs.tobytes()
    # ... and not on what lies further back than the history.
    recent = calibration.apply(calibration.fit(every[5:], cylinders, history_days=10), when, value)
    late = when > START + 16 * DAY
    for ours, theirs in zip(now, recent, strict=True):
        assert ours[late].tobytes() == theirs[late].tobytes()
    # Without one, all that is learnt later changes what is stated.
    whole = calibration.apply(calibration.fit(every, cylinders), when, value)
    assert not np.array_equal(whole.u_calibration, now.u_calibration)


def test_what_is_known_beforehand_counts_while_there_are_few_episodes():
    cylinders = [tank("a", 380.0), tank("b", 450.0)]
    two = [episode(START, [380.0, 450.0]), episode(START + DAY, [380.0, 450.0])]
    found = calibration.fit(two, cylinders, repeatability=0.02, drift=0.05)
    out = calibration.apply(found, np.array([START + DAY // 2, START + 2 * DAY]), np.array([415.0, 415.0]))
    # Half-way between two episodes a day apart a bridge has a quarter of a day's variance; a day after the last, all.
    at = 0.02**2 / 6  # the middle of two tanks injected three times each
    assert out.u_calibration[0] == pytest.approx(np.sqrt(0.05**2 / 4 + at / 2))
    assert out.u_calibration[1] == pytest.approx(np.sqrt(0.05**2 + at))


def test_a_cylinder_that_was_exchanged_is_told_by_the_time():
    time, value, port = rows_of([("2", 10, 380.0), ("1", 10, 410.0), ("2", 10, 450.0)])
    change = np.datetime64(START + 15 * MINUTE, "ns")
    plan = Plan((Standard("2", "low", end=change), Standard("2", "high", start=change)), flush_seconds=120)
    found = calibration.injections(time, value, port, plan, NAMES)
    assert [NAMES[k] for k in found.tank] == ["low", "high"]
    slow = Plan((Standard("2", "low", end=change, flush_seconds=300), plan.standards[1]), flush_seconds=120)
    later = calibration.injections(time, value, port, slow, NAMES)
    assert (later.start - found.start).tolist() == [180 * NS, 0]


# --- twins -----------------------------------------------------------------------------------


def twin(seed, *, unit, days=60, every=3.0):
    """A network's instrument: random walks of offset and slope, tanks that are not quite what they are said to be.

    Returns the error and the stated uncertainty of one hour at a time and a mole fraction drawn at random.
    """
    rng = np.random.default_rng(seed)
    assigned = np.array([380.0, 400.0, 450.0]) if unit == "ppm" else np.array([1850.0, 1950.0, 2200.0])
    scale = 1.0 if unit == "ppm" else 10.0
    u_tank, repeat, walk, slope_walk = 0.01 * scale, 0.015 * scale, 0.004 * scale, 2e-5
    true = assigned + rng.normal(0, u_tank, 3)
    cylinders = [tank(f"t{k}", a, u_tank) for k, a in enumerate(assigned)]
    times = np.arange(0, days + 1e-9, every)
    hour = rng.uniform(0, days)
    grid = np.sort(np.r_[times, hour])
    steps = np.sqrt(np.diff(grid, prepend=0.0))
    offset = rng.normal(0, 0.2 * scale) + np.cumsum(rng.normal(0, 1, grid.size) * walk * steps)
    slope = 1 + rng.normal(0, 1e-3) + np.cumsum(rng.normal(0, 1, grid.size) * slope_walk * steps)
    centre = assigned.mean()

    def reads(x, i):
        return centre + offset[i] + slope[i] * (x - centre)

    found = []
    for t in times:
        i = int(np.searchsorted(grid, t))
        injected = reads(true, i) + rng.normal(0, repeat, (3, 3))
        found.append(Episode(START + round(t * DAY), injected.mean(0), np.full(3, 3), injected.std(0, ddof=1), 0))
    fitted = calibration.fit(found, cylinders)
    x = rng.uniform(assigned[0], assigned[2])
    i = int(np.searchsorted(grid, hour))
    out = calibration.apply(fitted, np.array([START + round(hour * DAY)]), np.array([reads(x, i)]))
    return out.value[0] - x, np.hypot(out.u_calibration[0], out.u_tanks[0])


@pytest.mark.parametrize(("unit", "bias"), [("ppm", 0.02), ("ppb", 0.3)])
def test_twins_are_found_again_and_what_is_stated_of_them_is_true(unit, bias):
    """Each twin gives one hour, for the errors of one year's hours are the same error; chi-square over all of them."""
    count = 400
    first = 0 if unit == "ppm" else 10_000
    pairs = [twin(first + k, unit=unit) for k in range(count)]
    errors, stated = (np.array(column) for column in zip(*pairs, strict=True))
    assert abs(errors.mean()) < bias / 4
    assert np.sqrt((errors**2).mean()) < bias
    chi2 = ((errors / stated) ** 2).sum()
    p = 2 * min(stats.chi2.cdf(chi2, count), stats.chi2.sf(chi2, count))
    assert p > 0.001, f"chi-square {chi2:.0f} of {count}"
    assert stats.kstest(errors / stated, "norm").pvalue > 0.001
