"""Ten million points: a screen is sent few and shows what there is; `make bench ONLY=dashboard` times it."""

import json
from datetime import timedelta

import pytest

from deploy.dashboard import timeseries
from ingest import screen
from tests import chromium
from tests.deploy.crowded import COUNT, MANY, SPIKE, WINDOWS, filled, looked
from tests.deploy.dashboards import Visitor, site
from tests.path.network import until


def every_zoom(dsn, count):
    with screen.connect(dsn) as conn:
        for window, (start, length) in WINDOWS.items():
            seen = looked(conn, MANY, window)
            assert 0 < seen.time.size <= screen.MOST_SINGLE, window
            assert seen.high.max() == 999.0, window  # the spike of one second is seen from any height
            if seen.source == "readings":
                assert seen.size.sum() == min(
                    length.total_seconds(), count - (start - WINDOWS["all"][0]).total_seconds()
                )
                at = seen.time[seen.high.argmax()].astype("datetime64[us]").item()
                assert timedelta(0) <= SPIKE.replace(tzinfo=None) - at <= max(seen.step, timedelta(0))
        assert looked(conn, MANY, "all").source == "hour"
        assert looked(conn, MANY, "all").size.sum() == count
        assert looked(conn, MANY, "minute").size.tolist() == [1] * 60


def test_every_zoom_into_five_million_readings_shows_the_spike_in_few_points(plain_dsn):
    every_zoom(filled(plain_dsn, COUNT // 2), COUNT // 2)


@pytest.mark.soak
@pytest.mark.timescale
def test_a_visitor_zooms_from_ten_million_readings_to_single_ones(dsn, tmp_path):
    """In Chromium, on both levels of the store."""
    every_zoom(filled(dsn), COUNT)
    now = WINDOWS["all"][0] + timedelta(seconds=COUNT)
    with site(dsn, tmp_path, now=now, login=False) as served, chromium.browser(tmp_path) as browser:
        visitor = Visitor(browser(served.url, width=1400, height=900))
        visitor.until("all('.notice').some((e) => e.textContent.includes('readings'))")
        visitor.say(
            "(() => { all('button, .bk-btn').find((b) => b.textContent.trim() === 'all').click(); return 1; })()"
        )
        drawn = "model('series').renderers[1].data_source.get('x').length"
        visitor.until("all('.notice').some((e) => e.textContent.startsWith('10\\u202f000\\u202f000 readings'))")
        until(lambda: 0 < visitor.say(drawn) <= 3 * timeseries.PIXELS, "few points")
        caption = "all('.notice').map((e) => e.textContent).find((t) => / readings/.test(t))"
        ends = f"(() => {{ const x = {drawn.removesuffix('.length')}; return [x[0], x.length]; }})()"
        while "each of them" not in (visitor.say(caption) or ""):
            said, was = visitor.say(caption), visitor.say(ends)
            visitor.wheel(visitor.place(SPIKE), -700)
            visitor.until(f"({caption} || '') !== {json.dumps(said)}")
            until(lambda was=was: visitor.say(ends) != was, "finer data")
            assert visitor.say("Math.max(...model('series').renderers[1].data_source.get('y').filter(isFinite))") == 999
            assert visitor.say(drawn) <= 2 * screen.MOST_SINGLE
