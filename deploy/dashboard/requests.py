"""The HTTP requests: the page, login and logout, and the one that writes.

Each answer forbids to be framed, to be kept, and to load or run anything that is not the page's own. Whoever sends a
form has to come from an address that is allowed (``Origin``); a flag has to show as well what only the page knows.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final
from urllib.parse import urlparse

import psycopg
from bokeh.server.tornado import BokehTornado
from bokeh.server.util import check_allowlist
from panel.io.resources import Resources
from panel.io.server import DocHandler, server_html_page_for_session
from panel.io.state import set_curdoc
from tornado.web import HTTPError, RequestHandler, StaticFileHandler

from deploy.dashboard import templates
from deploy.dashboard.logins import LASTS_S, Limiter, Login, Logins
from deploy.dashboard.page import TITLE, Visit
from deploy.dashboard.store import Store
from deploy.dashboard.users import Users
from deploy.errors import DeployError
from ingest import ledger, read
from ingest.errors import IngestError
from ingest.ledger import Decision

log: Final = logging.getLogger(__name__)

MOST_VISITORS: Final = 200
"""Sessions at a time; each takes some memory, and anybody may open one."""
LONGEST_REASON: Final = 500
"""Characters of a reason."""
_WAITING: Final = 8
"""Logins that may wait for each other."""
_POLICY: Final = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' {sockets}; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
_KEYS: Final = ("station", "inlet", "instrument", "gas", "start", "end", "flag", "reason")


@dataclass(slots=True, eq=False)
class Desk:
    """What all requests share.

    Parameters
    ----------
    store
        That only reads.
    origins
        Addresses (host:port) from which forms and sessions are taken.
    secure
        Whether it is served by TLS: cookies are then never sent without.
    users, logins, limiter
        None where nobody can log in.
    write_dsn
        Database as who may flag.
    """

    store: Store
    origins: Sequence[str]
    secure: bool
    users: Users | None = None
    logins: Logins | None = None
    limiter: Limiter | None = None
    write_dsn: str = ""
    guessing: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0

    @property
    def cookie(self) -> str:
        """Return the name of the cookie; the prefix has browsers take it by TLS alone, and for this host alone."""
        return "__Host-skyledger" if self.secure else "skyledger"


class _Answer(RequestHandler):
    """What every answer has."""

    desk: Desk

    def prepare(self) -> None:
        """Refuse forms from elsewhere."""
        self.nonce = secrets.token_urlsafe(16)
        if self.request.method == "POST":
            origin = urlparse(self.request.headers.get("Origin", "")).netloc.lower()
            if not origin or not check_allowlist(origin, self.desk.origins):
                raise HTTPError(403, reason="this form does not come from this page")
        host = self.request.host if check_allowlist(self.request.host.lower(), self.desk.origins) else ""
        sockets = f"ws{'s' if self.desk.secure else ''}://{host}" if host else ""
        self.set_header("Content-Security-Policy", _POLICY.format(nonce=self.nonce, sockets=sockets))

    def set_default_headers(self) -> None:
        """Set what holds for errors too."""
        for name, value in (
            ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "same-origin"),
            ("Cache-Control", "no-store"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
        ):
            self.set_header(name, value)
        self.clear_header("Server")

    def login(self) -> Login | None:
        """Return who is logged in."""
        if self.desk.logins is None:
            return None
        key = self.get_signed_cookie(self.desk.cookie, max_age_days=1)
        try:
            return self.desk.logins.of(key.decode() if key else None)
        except DeployError as error:
            log.warning("nobody counts as logged in: %s", error, extra={"event": "users_unreadable"})
            return None

    def write_error(self, status_code: int, **_: Any) -> None:  # noqa: ARG002  Tornado's
        """Answer a wrong request in one sentence."""
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps({"error": self._reason}))


class Page(_Answer, DocHandler):
    """The page: for a visitor who is logged in with the form that flags."""

    def initialize(self, desk: Desk, visits: Mapping[str, Visit], **more: Any) -> None:
        """Take what all requests share."""
        self.desk, self._visits = desk, visits
        super().initialize(**more)

    async def get(self, *_: Any, **__: Any) -> None:
        """Open a session and answer with its page."""
        named = self.request.arguments.keys() & {"bokeh-session-id", "bokeh-token"}
        if named or "Bokeh-Session-Id" in self.request.headers:  # somebody may have had it before, and left something
            raise HTTPError(403, reason="a session is made for each visitor, none is taken by its name")
        if len(list(self.application_context.sessions)) >= MOST_VISITORS:
            raise HTTPError(503, reason="too many visitors at a time, try again in a minute")
        login, desk = self.login(), self.desk
        session = await self.get_session()
        if login is not None:
            await session.with_document_locked(self._visits[session.id].let_brush)
        served: Any = self.application
        proof = desk.logins.proof(login) if desk.logins is not None and login is not None else ""
        with set_curdoc(session.document):
            html = server_html_page_for_session(
                session,
                resources=Resources.from_bokeh(served.resources()),
                title=TITLE,
                template=templates.environment().get_template("page.html"),
                template_variables={
                    "nonce": self.nonce,
                    "name": None if login is None else login.name,
                    "proof": proof,
                    "can_log_in": desk.logins is not None,
                    "longest": LONGEST_REASON,
                    "flags": list(ledger.FLAGS),
                },
            )
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(html)


class SignIn(_Answer):
    """Login."""

    def initialize(self, desk: Desk) -> None:
        """Take what all requests share."""
        self.desk = desk

    def get(self) -> None:
        """Show the form."""
        self._form("")

    def _form(self, complaint: str, name: str = "") -> None:
        if self.desk.logins is None:
            raise HTTPError(404, reason="nobody can log in here")
        self.finish(templates.render("login.html", complaint=complaint, name=name, title=TITLE))

    async def post(self) -> None:
        """Let somebody in, or not."""
        name, password = self.get_body_argument("name", "")[:64], self.get_body_argument("password", "", strip=False)
        desk = self.desk
        if desk.waiting >= _WAITING:
            raise HTTPError(429, reason="too many try to log in at once, try again in a minute")
        desk.waiting += 1
        try:
            async with desk.guessing:  # one after the other, so that none guesses while another is not yet counted
                await self._let_in(name, password)
        finally:
            desk.waiting -= 1

    async def _let_in(self, name: str, password: str) -> None:
        desk, address = self.desk, self.request.remote_ip or ""
        if desk.users is None or desk.logins is None or desk.limiter is None:
            raise HTTPError(404, reason="nobody can log in here")
        if (wait := desk.limiter.wait(name, address)) > 0:
            self.set_status(429)
            self.set_header("Retry-After", str(math.ceil(wait)))
            self._form(f"Too many wrong passwords: try again in {math.ceil(wait)} s.", name)
            return
        try:
            entry = await asyncio.get_running_loop().run_in_executor(None, desk.users.fits, name, password)
        except DeployError as error:
            log.warning("nobody can log in: %s", error, extra={"event": "users_unreadable"})
            raise HTTPError(503, reason="the file of users cannot be read") from None
        if entry is None:
            desk.limiter.failed(name, address)
            log.warning("wrong password for %r from %s", name, address, extra={"event": "login_refused"})
            self.set_status(401)
            self._form("Name or password is wrong.", name)
            return
        desk.limiter.succeeded(name, address)
        key = desk.logins.begin(name, entry)
        self.set_signed_cookie(
            desk.cookie,
            key,
            expires_days=LASTS_S / 86_400,
            httponly=True,
            secure=desk.secure or self.request.headers["Origin"].startswith("https:"),
            samesite="Strict",
            path="/",
        )
        log.info("%r logged in from %s", name, address, extra={"event": "login"})
        self.redirect("/", status=303)


class SignOut(_Answer):
    """Logout."""

    def initialize(self, desk: Desk) -> None:
        """Take what all requests share."""
        self.desk = desk

    def post(self) -> None:
        """End the login."""
        login = self.login()
        if login is not None and self.desk.logins is not None:
            self.desk.logins.end(login.key)
        self.clear_cookie(self.desk.cookie, path="/", secure=self.desk.secure, httponly=True, samesite="Strict")
        self.redirect("/", status=303)


class Flagging(_Answer):
    """Writes a flag by hand to the ledger, under the name of who is logged in."""

    def initialize(self, desk: Desk) -> None:
        """Take what all requests share."""
        self.desk = desk

    async def post(self) -> None:
        """Write it."""
        login = self.login()
        if login is None or self.desk.logins is None:
            raise HTTPError(403, reason="flagging needs a login")
        if not self.desk.logins.proves(login, self.request.headers.get("X-Skyledger-Proof", "")):
            raise HTTPError(403, reason="this form does not come from this page")
        try:
            decision = _decision(self.request.body, author=login.name)
            write = partial(ledger.add, self.desk.write_dsn, decision)
            number = await asyncio.get_running_loop().run_in_executor(None, write)
        except (IngestError, DeployError) as error:
            if isinstance(error.__cause__, psycopg.Error):  # the sentence would say where the database is
                raise _not_now(error) from None
            self.set_status(400)
            self.finish({"error": str(error)})
            return
        except psycopg.Error as error:
            raise _not_now(error) from None
        said = (login.name, decision.station, decision.flag, number)
        log.info("%r flagged %s as %s, row %d", *said, extra={"event": "flagged"})
        self.desk.store.tell()
        self.finish({"row": number})


def _not_now(error: Exception) -> HTTPError:
    log.warning("a flag could not be written: %s", error, extra={"event": "flag_unwritten"})
    return HTTPError(503, reason="the database does not take it now, try again")


def _decision(body: bytes, *, author: str) -> Decision:
    """Return what a form says; raises DeployError or StoreError where it is none."""
    try:
        said = json.loads(body)
        given = {key: said.get(key) or "" for key in _KEYS}
        if not all(isinstance(value, str) for value in given.values()):
            raise TypeError  # noqa: TRY301  a number where a text is expected
    except (ValueError, RecursionError, TypeError, AttributeError):
        msg = f"a flag is JSON with the texts {', '.join(_KEYS)}"
        raise DeployError(msg) from None
    text = {
        key: " ".join("".join(c if c.isprintable() else " " for c in value).split()) for key, value in given.items()
    }
    if not 0 < len(text["reason"]) <= LONGEST_REASON:
        msg = f"the reason has {len(text['reason'])} characters, expected 1 to {LONGEST_REASON}"
        raise DeployError(msg)
    return Decision(
        station=text["station"],
        start=read.instant(text["start"]),
        end=read.instant(text["end"]),
        flag=text["flag"],
        author=author,
        reason=text["reason"],
        instrument=text["instrument"] or None,
        inlet=text["inlet"] or None,
        gas=text["gas"] or None,
    )


class Nothing(_Answer):
    """What Bokeh would answer and this page does not: parts of it for other people's pages."""

    def initialize(self, desk: Desk) -> None:
        """Take what all requests share."""
        self.desk = desk

    def get(self) -> None:
        """Say that there is nothing."""
        raise HTTPError(404, reason="there is nothing here")


class Assets(_Answer, StaticFileHandler):
    """Our own scripts and styles."""

    def initialize(self, desk: Desk, path: str) -> None:  # type: ignore[override]
        """Take what all requests share."""
        self.desk = desk
        super().initialize(path)


def add(application: BokehTornado, desk: Desk, visits: Mapping[str, Visit], assets: str) -> None:
    """Put these before what Bokeh answers by itself."""
    context = application._applications["/"]  # noqa: SLF001  Bokeh has no public name for it
    page = {"desk": desk, "visits": visits, "application_context": context, "bokeh_websocket_path": "/ws"}
    own = {"desk": desk}
    application.add_handlers(
        r".*",
        [
            (r"/", Page, page),
            (r"/login", SignIn, own),
            (r"/logout", SignOut, own),
            (r"/flag", Flagging, own),
            (r"/(?:autoload\.js|metadata)", Nothing, own),
            (r"/assets/(.*)", Assets, {"desk": desk, "path": assets}),
        ],
    )
