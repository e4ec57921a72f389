"""The network page in a real browser, over a real store: what a visitor sees, and what a PI writes by mouse."""

import base64
import io
import json
from datetime import UTC, datetime

import numpy as np
import psycopg
import pytest
from PIL import Image

from deploy.dashboard import comparison
from deploy.dashboard.network import LOOKS
from deploy.jobs import qc
from ingest import catalogue, ledger, preview, read
from ingest.database import connect
from ingest.migrate import migrate
from ingest.standing import Grade
from ingest.store import Writer
from inversion import report
from qc.flags import Flag
from tests import chromium
from tests.deploy.dashboards import NAME, Visitor, sign_in, site
from tests.deploy.processes import eventually
from tests.deploy.test_qc_job import put
from tests.deploy.test_qc_report import with_target
from tests.deploy.test_qc_stream import DAY, HOUR, fill, heard, moment, network_document, samples
from tests.ingest import payloads
from tests.ingest.payloads import CATALOGUE, START, batch, said
from tests.inversion.test_report_in_browser import annex_of, table_of
from tests.path.network import STATION, until

HOSTILE = "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script>"
WIDE = {"width": 1400, "height": 900}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium.browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


def prepared(dsn, days=0):
    migrate(dsn)
    document = network_document()
    document["station"][0]["title"] = HOSTILE
    document["station"].append(
        {"name": "wuhan", "title": "武汉", "latitude": 30.5, "longitude": 114.3, "altitude": 23.0}
    )
    catalogue.apply(dsn, document)
    if days:
        fill(dsn, days, every=DAY)
        with connect(dsn) as conn:
            preview.refresh(conn)
    return dsn


@pytest.fixture
def store(plain_dsn):
    """Four days of a station, judged."""
    prepared(plain_dsn, 4)
    qc.run_once(plain_dsn, with_target())
    return plain_dsn


def pixels(visitor, colour):
    """Return how many pixels of the map have a colour."""
    visitor.tab.evaluate("scrollTo(0, 0)")
    x, y, width, height = visitor.say(
        "(() => { const r = view('map').canvas_view.el.getBoundingClientRect();"
        " return [r.x, r.y, r.width, r.height]; })()"
    )
    clip = {"x": x, "y": y, "width": width, "height": height, "scale": 1}
    content = visitor.tab("Page.captureScreenshot", format="png", clip=clip)["data"]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB")).astype(int)
    wanted = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)])
    return int((np.abs(shown - wanted).max(axis=2) <= 6).sum())


def test_a_station_goes_late_and_silent_and_comes_back(browser, plain_dsn, tmp_path):
    """By what data there are and what time it is; nobody reloads the page."""
    prepared(plain_dsn)
    put(plain_dsn, samples(0, HOUR), seq=1)
    fresh, late, silent = (LOOKS[grade][0] for grade in (Grade.FRESH, Grade.LATE, Grade.SILENT))
    with site(plain_dsn, tmp_path, now=moment(HOUR), series=with_target()) as served:
        visitor = Visitor(browser(served.url, **WIDE))
        until(lambda: visitor.grade(STATION) == "fresh", "it is fresh")
        assert visitor.grade("wuhan") == "never heard"
        until(lambda: pixels(visitor, fresh) > 30, "its mark is green")
        assert pixels(visitor, late) == 0
        served.clock.advance(minutes=20)
        until(lambda: visitor.grade(STATION) == "late", "it is late")
        until(lambda: pixels(visitor, late) > 30, "its mark is orange")
        assert pixels(visitor, fresh) == 0
        assert visitor.say("model('map').renderers.at(-2).data_source.get('marker')")[0] == "triangle"
        served.clock.advance(days=1)
        until(lambda: visitor.grade(STATION) == "silent", "it is silent")
        until(lambda: pixels(visitor, silent) > 30, "its mark is red")
        before = drawn(visitor, 0)
        put(plain_dsn, samples(DAY, DAY + HOUR + 1200), seq=2)
        until(lambda: visitor.grade(STATION) == "fresh", "it is back")
        until(lambda: pixels(visitor, fresh) > 30, "its mark is green again")
        until(lambda: visitor.window()[1] > before[1] + HOUR, "the series goes on")
        assert visitor.tab.complaints == []


def test_what_a_station_says_of_its_clock_and_queue(browser, plain_dsn, tmp_path):
    prepared(plain_dsn)
    status = {"state": "online", "queue_batches": 1234, "clock": {"synchronised": True, "offset_s": -0.0421}}
    with psycopg.connect(plain_dsn, autocommit=True) as conn:
        conn.execute("INSERT INTO station_status VALUES (%s, now(), %s)", [STATION, json.dumps(status)])
    with site(plain_dsn, tmp_path, login=False) as served:
        visitor = Visitor(browser(served.url, **WIDE))
        cells = until(lambda: visitor.texts(f"tr[data-station='{STATION}'] td"), "the row")
        assert cells[4:6] == ["1\u202f234", "−42.1 ms"]
        assert cells[6].startswith("online")
        assert visitor.texts("a.button") == []  # nobody can log in here, so nothing offers it


def drawn(visitor, second):
    """Wait until the series is drawn up to a time, for captions come before it; its window."""
    return until(lambda: (window := visitor.window())[1] > moment(second).timestamp() and window, "the series is drawn")


def steps_between(visitor):
    """What lies between the times of the series' marks [ms]."""
    xs = visitor.say("model('series').renderers.slice(1).flatMap((r) => Array.from(r.data_source.get('x')))")
    steps = np.diff(np.unique(np.array([x for x in xs if x is not None])))
    return set(steps.round().tolist())


def test_zooming_in_loads_finer_data_down_to_single_readings(browser, store, tmp_path):
    with site(store, tmp_path, now=moment(4 * DAY), series=with_target()) as served:
        visitor = Visitor(browser(served.url, **WIDE))
        caption = "all('.notice').map((e) => e.textContent).find((t) => t.includes(' minute means'))"
        first = visitor.until(caption)
        assert "in intervals of" in first
        drawn(visitor, 3 * DAY)
        before = visitor.window()
        visitor.wheel(visitor.place(moment(3 * DAY)), -700)
        visitor.until(f"({caption} || '') !== {json.dumps(first)}")
        after = visitor.window()
        assert before[0] < after[0] < after[1] < before[1]
        place = (moment(3 * DAY).timestamp() - before[0]) / (before[1] - before[0])
        assert (moment(3 * DAY).timestamp() - after[0]) / (after[1] - after[0]) == pytest.approx(place, abs=0.02)
        while "each of them" not in (visitor.say(caption) or ""):
            said = visitor.say(caption)
            visitor.wheel(visitor.place(moment(3 * DAY)), -700)
            visitor.until(f"({caption} || '') !== {json.dumps(said)}")
        # The caption and the marks come one after the other.
        until(lambda: steps_between(visitor) == {60_000.0}, "each minute, none left out")
        visitor.choose("Shown", "readings of g2301, as sent")
        visitor.until("all('.notice').some((e) => /readings, each of them/.test(e.textContent))")
        axis = visitor.say("[model('series').left[0].axis_label, model('series').below[0].axis_label]")
        assert axis == ["CO₂ (ppm)", "time (UTC)"]


def test_a_brushed_range_lands_in_the_ledger_with_author_and_reason(browser, store, tmp_path):
    with site(store, tmp_path, now=moment(4 * DAY), series=with_target()) as served:
        visitor = sign_in(browser, served, **WIDE)
        assert visitor.texts(".who span") == [NAME]
        visitor.until("model('series').toolbar.tools.some((t) => t.type === 'BoxSelectTool' && t.active)")
        visitor.until("all('.notice').some((e) => e.textContent.includes(' minute means'))")
        drawn(visitor, 3 * DAY)
        start, end = visitor.place(moment(2 * DAY)), visitor.place(moment(2 * DAY + 6 * HOUR))
        visitor.drag(start, end)
        visitor.until("document.querySelector('#flagging [name=start]').value !== ''")
        visitor.type("reason", f"visitors {HOSTILE}")
        visitor.tab.click("#flagging button", "Write to the ledger")
        visitor.until("document.getElementById('answer').textContent.startsWith('Row 1 of the ledger: bad')")
        (row,) = ledger.rows(store)
        assert (row.author, row.reason, row.flag) == (NAME, f"visitors {HOSTILE}", Flag.BAD)
        assert (row.station, row.inlet, row.gas, row.instrument) == (STATION, "50m", "co2", None)
        pixel = (visitor.window()[1] - visitor.window()[0]) / 1000
        for got, meant in ((row.start, moment(2 * DAY)), (row.end, moment(2 * DAY + 6 * HOUR))):
            assert abs((got - meant).total_seconds()) < 3 * pixel
        assert visitor.texts("#hint") == [f"Marked: {STATION}, 50m."]
        # It is shown at once, as text; and quality control takes it.
        visitor.until("all('table.decisions td.reason').length === 1")
        assert visitor.texts("table.decisions td.reason") == [f"visitors {HOSTILE}"]
        visitor.until("model('series').renderers[0].data_source.get('left').length === 1")
        assert eventually(lambda: heard(store))
        qc.run_once(store, with_target())
        hours = read.hourly(store, station=STATION, inlet="50m")
        inside = (hours["time"].values > np.datetime64(row.start.replace(tzinfo=None))) & (
            hours["time"].values < np.datetime64(row.end.replace(tzinfo=None))
        )
        assert inside.sum() >= 5
        assert (hours["co2_flag"].values[inside] == Flag.BAD).mean() > 0.8
        # Another series is chosen: what was marked of the first is not meant any more.
        visitor.choose("Shown", "readings of g2301, as sent")
        visitor.until("document.querySelector('#flagging [name=instrument]').value === 'g2301'")
        assert visitor.say("document.querySelector('#flagging [name=start]').value") == ""
        nothing_ran(visitor)


def test_a_reader_has_no_such_control_and_a_forged_message_writes_nothing(browser, store, tmp_path):
    with site(store, tmp_path, now=moment(4 * DAY), series=with_target()) as served:
        visitor = Visitor(browser(served.url, **WIDE))
        visitor.until("all('.notice').some((e) => e.textContent.includes(' minute means'))")
        assert visitor.say("all('#flagging').length") == 0
        assert not visitor.say("model('series').toolbar.tools.some((t) => t.type === 'BoxSelectTool')")
        assert visitor.texts("a.button") == ["Log in to flag"]
        said = {
            "station": STATION,
            "inlet": "50m",
            "start": "2025-07-02",
            "end": "2025-07-03",
            "flag": "bad",
            "reason": "x",
        }
        sent = "fetch('/flag', {method: 'POST', headers: {'X-Skyledger-Proof': 'x'}, body: JSON.stringify(%s)})"
        assert visitor.tab.evaluate(f"{sent % json.dumps(said)}.then((r) => r.status)") == 403
        # By the session's websocket: the event of a brush, a tool of its own, properties changed at will.
        visitor.say(
            "(() => { const { SelectionGeometry } = Bokeh.require('core/bokeh_events'); model('series').trigger_event("
            f"new SelectionGeometry({{type: 'rect', x0: {moment(DAY).timestamp() * 1000},"
            f" x1: {moment(2 * DAY).timestamp() * 1000}, y0: 0, y1: 1}}, true)); return 1; }})()"
        )
        visitor.until(
            "(model('series').tags[0]?.start ?? model('series').tags[0]?.get?.('start')) !== ''"
        )  # the server heard it, and said back what was marked: no more
        assert ledger.rows(store) == []


def test_nothing_is_fetched_from_elsewhere_and_nothing_from_data_runs(browser, store, tmp_path):
    ledger.add(
        store,
        ledger.Decision(
            station=STATION, start=moment(DAY), end=moment(2 * DAY), flag="suspect", author=HOSTILE, reason=HOSTILE
        ),
    )
    report.write_annex(annex_of(table_of(6)), tmp_path / "result")
    shown = comparison.Source(tmp_path / "result")
    with site(store, tmp_path, now=moment(4 * DAY), series=with_target(), crosscheck=shown) as served:
        visitor = Visitor(browser(served.url, **WIDE))
        visitor.until("all('table.decisions td.reason').length === 1 && all('table.crosscheck').length === 1")
        visitor.until("Bokeh.documents[0].get_model_by_name('figures').children.length === 3")  # calibration and target
        assert visitor.texts("table.decisions td.reason") == [HOSTILE]
        assert HOSTILE in visitor.texts(f"tr[data-station='{STATION}'] td small")
        # What hovers is escaped as well.
        visitor.until("model('map').renderers.at(-2).data_source.get('name').length > 0")
        until(lambda: hovers(visitor, STATION), "what hovers")
        nothing_ran(visitor)
        assert visitor.outside(served.host) == []
        assert any(url.startswith(f"ws://{served.host}/ws") or "/static/" in url for url in visitor.tab.requests)
        fetched = visitor.tab.evaluate("performance.getEntriesByType('resource').map((e) => e.name)")
        assert fetched
        assert all(url.startswith((f"http://{served.host}/", "data:")) for url in fetched)


def hovers(visitor, name):
    """Whether the mouse on a station's mark brings up what is said of it."""
    x, y = visitor.mark(name)
    for step in (1, 0):
        visitor.tab("Input.dispatchMouseEvent", type="mouseMoved", x=x - step, y=y)
    return visitor.say("all('.bk-tooltip-row-value').some((e) => e.textContent.includes('<script>'))")


def nothing_ran(visitor):
    assert visitor.tab.evaluate("document.title") == "skyledger network"
    assert visitor.say("all('img').length") == 0
    assert visitor.tab.complaints == []


def test_the_policy_stops_a_script_that_got_in(browser, store, tmp_path):
    with site(store, tmp_path, now=moment(4 * DAY)) as served:
        visitor = Visitor(browser(served.url, **WIDE))
        visitor.tab.evaluate(
            "(() => { const s = document.createElement('div');"
            " s.innerHTML = '<img src=x onerror=\"document.title=1\">'; document.body.append(s);"
            " const t = document.createElement('script'); t.textContent = 'document.title = 1';"
            " document.body.append(t); return 1; })()"
        )
        until(lambda: visitor.tab.evaluate("performance.now()") and len(visitor.tab.complaints) >= 2, "complaints")
        assert all("Content Security Policy" in one for one in visitor.tab.complaints if "404" not in one)
        assert visitor.tab.evaluate("document.title") == "skyledger network"


def test_a_wrong_password_does_not_get_in(browser, store, tmp_path):
    with site(store, tmp_path, now=moment(4 * DAY)) as served:
        tab = browser(f"{served.url}login")
        for name, text in (("name", NAME), ("password", "battery horse correct")):
            tab.evaluate(f"document.querySelector('[name={name}]').focus()")
            tab("Input.insertText", text=text)
        tab.click("button", "Log in")
        alert = "document.querySelector('[role=alert]')?.textContent"
        until(lambda: tab.evaluate(alert) == "Name or password is wrong.", "it says so")
        assert tab.evaluate("document.cookie") == ""
        assert served.request("GET", "/")[2].count("flagging") == 0


def test_the_page_says_when_the_database_does_not_answer_and_goes_on(browser, postgres_server, store, tmp_path):
    name = psycopg.conninfo.conninfo_to_dict(store)["dbname"]
    with site(store, tmp_path, now=moment(4 * DAY)) as served:
        visitor = Visitor(browser(served.url, **WIDE))
        until(lambda: visitor.grade(STATION) == "fresh", "it is fresh")
        with psycopg.connect(postgres_server.dsn, autocommit=True) as conn:
            conn.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            visitor.until("all('.notice').some((e) => e.textContent.startsWith('the database does not answer'))")
            words = ("dbname", name, "connection", "socket")
            assert not any(word in text for text in visitor.texts(".notice") for word in words)
            conn.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        visitor.until("!all('.notice').some((e) => e.textContent.startsWith('the database does not answer'))")


def test_nothing_sticks_out_of_a_narrow_screen(browser, store, tmp_path):
    with site(store, tmp_path, now=moment(4 * DAY), series=with_target()) as served:
        visitor = Visitor(browser(served.url, width=420, height=900))
        visitor.until("Bokeh.documents[0].get_model_by_name('figures').children.length === 3")
        until(lambda: visitor.tab.evaluate("document.body.scrollWidth") <= 420, "it fits")


def test_a_station_is_chosen_on_the_map_and_by_its_link(browser, plain_dsn, tmp_path):
    migrate(plain_dsn)
    catalogue.apply(plain_dsn, CATALOGUE)
    with connect(plain_dsn) as conn:
        for name in ("lin-an", "wuhan"):
            Writer(conn).write([said(batch(payloads.samples()), station=name)])
    where = "all('select').find((s) => [...s.options].some((o) => o.value === 'wuhan')).value"
    with site(plain_dsn, tmp_path, now=datetime.fromtimestamp(START + 60, UTC)) as served:
        visitor = Visitor(browser(served.url, **WIDE))
        visitor.until(f"{where} === 'lin-an'")
        visitor.tab.evaluate("scrollTo(0, 0)")
        visitor.until("model('map').renderers.at(-2).data_source.get('name').length === 3")
        place = visitor.mark("wuhan")
        visitor.drag(place, place)
        visitor.until(f"{where} === 'wuhan'")
        linked = Visitor(browser(f"{served.url}?station=wuhan#series", **WIDE))
        linked.until(f"{where} === 'wuhan'")
        other = Visitor(browser(f"{served.url}?station=%3Cscript%3E", **WIDE))
        other.until(f"{where} === 'lin-an'")
