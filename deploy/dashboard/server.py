"""Where the page is served: address, TLS, origins; what is unsafe is refused before anything listens."""

from __future__ import annotations

import ipaddress
import logging
import secrets
import signal
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any, Final

from bokeh.application.handlers.function import FunctionHandler
from bokeh.document import Document
from bokeh.server.util import create_hosts_allowlist
from panel.io.application import Application
from panel.io.server import get_server
from tornado.ioloop import IOLoop

from deploy.dashboard import requests
from deploy.dashboard.logins import Limiter, Logins
from deploy.dashboard.page import Shown, Visit
from deploy.dashboard.requests import Desk
from deploy.dashboard.store import Store, wall_clock
from deploy.dashboard.users import Users, secret
from deploy.errors import DeployError

log: Final = logging.getLogger(__name__)

ADDRESS: Final = "127.0.0.1"
PORT: Final = 5006
_LARGEST_MESSAGE: Final = 2**20
_LARGEST_BODY: Final = 2**16
_TOKEN_S: Final = 300
_UNUSED_MS: Final = 60_000
_HTTPS: Final = ":443"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How it is served.

    Parameters
    ----------
    dsn
        Database as who may read.
    address, port
        Where it listens.
    origins
        Addresses (HOST or HOST:PORT) visitors type, where they are others than address and port.
    certificate, key
        PEM files; None: no TLS.
    plain
        Whether other machines are answered without TLS.
    users, secret
        Files; None: nobody can log in.
    write_dsn
        Database as who may flag.
    shown
        What is shown beside the store.
    """

    dsn: str
    address: str = ADDRESS
    port: int = PORT
    origins: tuple[str, ...] = ()
    certificate: Path | None = None
    key: Path | None = None
    plain: bool = False
    users: Path | None = None
    secret: Path | None = None
    write_dsn: str = ""
    shown: Shown = field(default_factory=Shown)


def _is_loopback(address: str) -> bool:
    try:
        return address == "localhost" or ipaddress.ip_address(address).is_loopback
    except ValueError:
        msg = f"--address {address!r} is no address: expected one as 127.0.0.1 or ::1"
        raise DeployError(msg) from None


def require_safe(given: Settings) -> None:
    """Raise DeployError where serving like that would be unsafe, or cannot work."""
    if (given.certificate is None) != (given.key is None):
        msg = "--tls-cert goes with --tls-key: give both, or neither"
        raise DeployError(msg)
    if not _is_loopback(given.address) and given.certificate is None and not given.plain:
        msg = (
            f"--address {given.address} lets other machines in, and passwords would go over the network in the clear:"
            " give --tls-cert and --tls-key, or --plain behind a proxy that speaks TLS"
        )
        raise DeployError(msg)
    nameless = given.address == "0.0.0.0" or ":" in given.address  # noqa: S104
    if nameless and not given.origins:
        msg = (
            f"--address {given.address} is nothing to type: say by --allow-websocket-origin HOST:PORT what visitors do"
        )
        raise DeployError(msg)
    if (given.users is None) != (not given.write_dsn):
        msg = "--users goes with --write-dsn, as whom flags are written: give both, or neither for a page without login"
        raise DeployError(msg)


def allowed(given: Settings) -> list[str]:
    """Return the addresses (host:port) from which sessions and forms are taken."""
    own = [f"{given.address}:{given.port}"] if ":" not in given.address else []
    if _is_loopback(given.address):
        own += [f"localhost:{given.port}", f"127.0.0.1:{given.port}"]
    try:
        if wild := [origin for origin in given.origins if "*" in origin]:
            raise ValueError(wild[0])  # noqa: TRY301  would let sessions in from anywhere
        found = create_hosts_allowlist(list(given.origins) or own, given.port)
        # An Origin of https names no 443, and what names no port is taken for 80 when it is compared.
        bare = [f"{one.removesuffix(_HTTPS)}:80" for one in found if one.endswith(_HTTPS)]
        return sorted({*found, *bare})
    except ValueError as error:
        msg = f"--allow-websocket-origin: expected HOST or HOST:PORT, without *: {error}"
        raise DeployError(msg) from None


def _tls(given: Settings) -> ssl.SSLContext | None:
    if given.certificate is None or given.key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(given.certificate, given.key)
    except (OSError, ssl.SSLError) as error:
        msg = f"{given.certificate} and {given.key} are no certificate with its key: {error}"
        raise DeployError(msg) from None
    return context


def _desk(given: Settings, store: Store, now: Callable[[], float], signing: bytes) -> Desk:
    desk = Desk(store=store, origins=allowed(given), secure=given.certificate is not None)
    if given.users is not None:
        desk.users, desk.write_dsn, desk.limiter = Users(given.users), given.write_dsn, Limiter(now=now)
        desk.logins = Logins(desk.users, signing, now=now)
    return desk


def made(given: Settings, *, now: Callable[[], datetime] = wall_clock, every: float = 10.0) -> tuple[Any, Store]:
    """Return a server that does not run yet, on the loop of this thread, and its store.

    Parameters
    ----------
    given
        How it is served.
    now
        The clock by which data are fresh or late, and logins end.
    every
        Seconds between two looks at the database.

    Raises
    ------
    DeployError
        That would be unsafe, a file is not what it should be, or the address is taken.
    """
    require_safe(given)
    if given.users is not None and given.secret is None:
        msg = "--users goes with --secret, a file for what signs cookies: it is made where it is not there"
        raise DeployError(msg)
    # Sessions are signed in any case: otherwise visitors could make as many as they like.
    signing = secret(given.secret) if given.secret is not None else secrets.token_hex(32).encode()
    tls, store = _tls(given), Store(given.dsn, now=now, every=every)
    desk = _desk(given, store, lambda: now().timestamp(), signing)
    visits: dict[str, Visit] = {}

    def gone(context: Any) -> None:
        visits.pop(context.id, None)

    def visit(doc: Document) -> None:
        context = doc.session_context
        if context is not None:
            visits[context.id] = Visit(doc, store, given.shown)
            doc.on_session_destroyed(gone)

    try:
        server = get_server(
            {"/": Application(FunctionHandler(visit))},
            port=given.port,
            address=given.address,
            websocket_origin=list(desk.origins),
            cookie_secret=signing.decode("latin-1"),
            sign_sessions=True,
            secret_key=signing,
            include_headers=[],
            include_cookies=[],
            session_token_expiration=_TOKEN_S,
            unused_session_lifetime_milliseconds=_UNUSED_MS,
            websocket_max_message_size=_LARGEST_MESSAGE,
            http_server_kwargs={"ssl_options": tls, "max_body_size": _LARGEST_BODY, "max_buffer_size": 2 * 2**20},
        )
    except OSError as error:
        store.close()
        msg = f"{given.address}:{given.port} cannot be listened at: {error.strerror or error}; --port takes another"
        raise DeployError(msg) from None
    assets = resources.files("deploy.dashboard").joinpath("assets")
    requests.add(server._tornado, desk, visits, str(assets))  # noqa: SLF001  Bokeh has no public name for it
    return server, store


def run(given: Settings, say: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM."""
    loop = IOLoop.current()
    server, store = made(given)
    server.start()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: loop.add_callback_from_signal(loop.stop))
    scheme = "https" if given.certificate is not None else "http"
    host = f"[{given.address}]" if ":" in given.address else given.address
    say(f"The network page: {scheme}://{host}:{given.port}/ until Ctrl-C.")
    try:
        loop.start()
    finally:
        server.stop()
        store.close()
