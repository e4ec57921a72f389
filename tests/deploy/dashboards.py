"""The network page served by a thread of the test, over a real store, at a time the test sets."""

import asyncio
import http.client
import json
import re
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

from tornado.ioloop import IOLoop

from deploy.dashboard import server, users
from deploy.dashboard.page import Shown
from deploy.jobs import network
from deploy.local.broker import free_port
from tests.path.network import until

NAME, PASSWORD = "Li Hua", "correct horse battery"


class Clock:
    """A clock that is set by hand."""

    def __init__(self, time):
        self.time = time

    def __call__(self):
        return self.time

    def advance(self, **length):
        self.time += timedelta(**length)


class Site:
    """A page that is served."""

    def __init__(self, settings, clock):
        self.settings, self.clock = settings, clock
        self.host = f"127.0.0.1:{settings.port}"
        self.url = f"http://{self.host}/"

    def request(self, method, path, *, body=None, headers=None):
        """Return status, headers and text of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.settings.port, timeout=60)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()

    def sign_in(self, name=NAME, password=PASSWORD, **headers):
        """Try to log in; returns status and the cookie."""
        form = urlencode({"name": name, "password": password})
        given = {"Content-Type": "application/x-www-form-urlencoded", "Origin": self.url.rstrip("/")} | headers
        status, answered, text = self.request("POST", "/login", body=form, headers=given)
        return status, (answered.get("Set-Cookie") or "").partition(";")[0], answered, text

    def proof(self, cookie):
        """Return what the page's form shows to whom it knows."""
        found = re.search(r'data-proof="([0-9a-f]+)"', self.request("GET", "/", headers={"Cookie": cookie})[2])
        return found and found[1]

    def flag(self, said, *, cookie="", proof="", origin=None):
        """Send what the form sends."""
        headers = {"Content-Type": "application/json", "Origin": origin or self.url.rstrip("/")}
        headers |= {"Cookie": cookie} if cookie else {}
        headers |= {"X-Skyledger-Proof": proof} if proof else {}
        status, _, text = self.request("POST", "/flag", body=json.dumps(said), headers=headers)
        return status, json.loads(text)


@contextmanager
def site(dsn, folder, *, now=None, login=True, every=0.2, crosscheck=None, series=None, write_dsn=None, read_dsn=None):
    """Serve the page."""
    folder = Path(folder)
    clock = Clock(now or datetime.now(UTC))
    if login:
        users.put(folder / "users.json", NAME, PASSWORD)
    settings = server.Settings(
        dsn=read_dsn or dsn,
        port=free_port(),
        users=folder / "users.json" if login else None,
        secret=folder / "secret" if login else None,
        write_dsn=(write_dsn or dsn) if login else "",
        shown=Shown(network.network_configuration() if series is None else series, crosscheck),
    )
    ready, held = threading.Event(), {}

    def serve():
        asyncio.set_event_loop(asyncio.new_event_loop())
        held["loop"] = IOLoop.current()
        try:
            held["server"], held["store"] = server.made(settings, now=clock, every=every)
            held["server"].start()
        finally:
            ready.set()
        held["loop"].start()
        held["server"].stop()
        held["store"].close()
        held["loop"].close(all_fds=True)

    thread = threading.Thread(target=serve)
    thread.start()
    assert ready.wait(60)
    assert "server" in held
    try:
        yield Site(settings, clock)
    finally:
        held["loop"].add_callback(held["loop"].stop)
        thread.join(60)
        assert not thread.is_alive()


# --- a visitor with a browser --------------------------------------------------------------------

DEEP = """
const all = (selector, from = document) => {
  const found = [...from.querySelectorAll(selector)];
  for (const one of from.querySelectorAll("*")) if (one.shadowRoot) found.push(...all(selector, one.shadowRoot));
  return found;
};
const model = (name) => Bokeh.documents[0].get_model_by_name(name);
const view = (name) => Bokeh.index.find_one(model(name));
"""
"""Elements within shadow roots too, and Bokeh's models and views by name."""


class Visitor:
    """A page that somebody looks at, clicks on and drags over."""

    def __init__(self, tab):
        self.tab = tab
        self.until("window.Bokeh && Bokeh.documents.length && all('.tile').length && view('series') !== null")

    def say(self, expression):
        """Return what an expression is; it may use DEEP."""
        return self.tab.evaluate(f"(() => {{ {DEEP} return {expression}; }})()")

    def until(self, expression, *, seconds=60):
        """Wait until an expression is true; returns it."""
        return until(lambda: self.say(expression), expression, seconds=seconds)

    def texts(self, selector):
        """Return the texts of elements."""
        return self.say(f"all({json.dumps(selector)}).map((e) => e.textContent.trim())")

    def grade(self, station):
        """Return what the table says of a station."""
        return self.say(f"all('tr[data-station={json.dumps(station)}]').map((e) => e.dataset.grade)[0]")

    def choose(self, label, option):
        """Choose an option of a list, as a keyboard does."""
        return self.say(
            f"all('label').filter((l) => l.textContent === {json.dumps(label)}).map((l) => {{"
            f" const s = l.parentElement.querySelector('select'); s.value = [...s.options].find("
            f"(o) => o.textContent === {json.dumps(option)}).value; s.dispatchEvent(new Event('change')); return 1; }})"
        )

    def place(self, time):
        """Return where a time stands in the figure of the series, px of the window."""
        self.tab.evaluate("document.getElementById('series').scrollIntoView()")
        return self.say(
            f"""(() => {{ const v = view("series"), r = v.canvas_view.el.getBoundingClientRect(), f = v.frame;
            const x = r.x + f.x_scale.compute({time.timestamp() * 1000});
            return [x, r.y + (f.bbox.top + f.bbox.bottom) / 2]; }})()"""
        )

    def mark(self, station):
        """Return where a station's mark stands on the map, px of the window."""
        return self.say(
            "(() => { const v = view('map'), s = v.model.renderers.at(-2).data_source, f = v.frame;"
            f" const k = s.get('name').indexOf({json.dumps(station)}), r = v.canvas_view.el.getBoundingClientRect();"
            " return [r.x + f.x_scale.compute(s.get('x')[k]), r.y + f.y_scale.compute(s.get('y')[k])]; })()"
        )

    def drag(self, start, end):
        """Press, move and release the mouse."""

        def mouse(kind, x, y, **more):
            self.tab("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

        (x0, y0), (x1, y1) = start, end
        mouse("mouseMoved", x0, y0)
        mouse("mousePressed", x0, y0, button="left", buttons=1, clickCount=1)
        for part in range(1, 11):
            mouse("mouseMoved", x0 + (x1 - x0) * part / 10, y0 + (y1 - y0) * part / 10, button="left", buttons=1)
        mouse("mouseReleased", x1, y1, button="left", clickCount=1)

    def wheel(self, place, turn):
        """Turn the wheel with Ctrl held down; less than nothing: nearer."""
        x, y = place
        self.tab("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        self.tab("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=turn, modifiers=2)

    def type(self, name, text):
        """Type into a field of a form."""
        self.tab.evaluate(f"document.querySelector('[name={name}]').focus()")
        self.tab("Input.insertText", text=text)

    def window(self):
        """Return the window of the series, s since 1970."""
        return self.say("[model('series').x_range.start / 1000, model('series').x_range.end / 1000]")

    def outside(self, host):
        """Return the requests that went elsewhere."""
        ours = (f"http://{host}/", f"ws://{host}/", "data:", "blob:", "about:")
        return [url for url in self.tab.requests if not url.startswith(ours)]


def sign_in(browser, site, **size):
    """Log in by the form; returns the visitor."""
    tab = browser(f"{site.url}login", **size)
    for name, text in (("name", NAME), ("password", PASSWORD)):
        tab.evaluate(f"document.querySelector('[name={name}]').focus()")
        tab("Input.insertText", text=text)
    tab.click("button", "Log in")
    until(lambda: tab.evaluate("location.pathname === '/' && !!document.getElementById('flagging')"), "the page")
    return Visitor(tab)
