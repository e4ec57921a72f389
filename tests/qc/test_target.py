"""CMR, LTR and STTB against their definitions written out."""

import numpy as np
import pytest

from qc.errors import QcError
from qc.target import history

DAY = 86_400 * 10**9


def test_what_a_target_has_shown():
    rng = np.random.default_rng(1)
    n = 40
    time = np.sort(rng.integers(0, 90 * DAY, n))
    minutes = rng.integers(1, 12, n)
    values = [rng.normal(410 + k * 0.001, 0.03, m) for k, m in enumerate(minutes)]
    mean = np.array([v.mean() for v in values])
    stdev = np.array([v.std(ddof=1) if v.size > 1 else np.nan for v in values])
    found = history(time, mean, stdev, minutes, np.full(n, 410.0), window_days=30, bias_days=10)
    np.testing.assert_allclose(found.bias, mean - 410.0)
    for j in range(n):
        window = [i for i in range(n) if time[j] - 30 * DAY < time[i] <= time[j]]
        inner = np.concatenate([values[i] - mean[i] for i in window])
        freedom = sum(minutes[i] - 1 for i in window)
        if freedom:
            assert found.cmr[j] == pytest.approx(np.sqrt((inner**2).sum() / freedom))
        near = [i for i in range(n) if abs(time[i] - time[j]) <= 5 * DAY]
        assert found.sttb[j] == pytest.approx(np.mean([mean[i] - 410.0 for i in near]))
        if len(window) > 1:
            assert found.ltr[j] == pytest.approx(np.std([mean[i] for i in window], ddof=1), abs=1e-9)
        else:
            assert np.isnan(found.ltr[j])


def test_too_little_and_what_cannot_be():
    one = history(np.array([0]), np.array([1.0]), np.array([np.nan]), np.array([1]), np.array([1.0]))
    assert np.isnan([one.cmr[0], one.ltr[0]]).all()
    assert one.sttb[0] == 0.0
    nothing = history(*(np.empty(0, kind) for kind in (np.int64, float, float, np.int64, float)))
    assert nothing.bias.size == 0
    two = np.array([0, 0])
    with pytest.raises(QcError, match="do not follow each other in time, first at place 1"):
        history(two, two * 1.0, two * 1.0, two, two * 1.0)
    with pytest.raises(QcError, match="window_days is 0"):
        history(two[:1], two[:1] * 1.0, two[:1] * 1.0, two[:1], two[:1] * 1.0, window_days=0)
