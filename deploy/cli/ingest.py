"""`skyledger ingest run`: the broker's messages into the database."""

import contextlib
import logging
import os
import signal
import ssl
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from deploy import logs
from deploy.errors import DeployError
from deploy.options import Dsn

app = typer.Typer(help="Take in what stations send.", no_args_is_help=True)

MQTT_PORT = 1883
METRICS_PORT = 9464
PASSWORD_VARIABLE = "SKYLEDGER_BROKER_PASSWORD"  # noqa: S105  the variable's name


def attach(parent: typer.Typer) -> None:
    """Add the commands."""
    parent.add_typer(app, name="ingest")


@app.command()
def run(  # noqa: PLR0913  a command's options
    dsn: Dsn,
    *,
    broker: Annotated[str, typer.Option(envvar="SKYLEDGER_BROKER", help="Broker, as host:port.")] = "127.0.0.1:1883",
    client_id: Annotated[
        str,
        typer.Option(
            help="Name of our session at the broker; every running consumer needs its own.", show_default=False
        ),
    ] = "",
    group: Annotated[
        str,
        typer.Option(help="Share the messages with the other workers of this group (Mosquitto).", show_default=False),
    ] = "",
    connections: Annotated[int, typer.Option(min=1, max=16, help="Connections to the database.")] = 2,
    username: Annotated[
        str | None, typer.Option(help=f"User name at the broker; its password is read from {PASSWORD_VARIABLE}.")
    ] = None,
    ca: Annotated[Path | None, typer.Option(help="Certificate authority of the broker: use TLS.")] = None,
    cert: Annotated[Path | None, typer.Option(help="Our certificate, where the broker wants one.")] = None,
    key: Annotated[Path | None, typer.Option(help="Our certificate's key.")] = None,
    aside_quota_mb: Annotated[
        float, typer.Option(min=0, help="MB a station may have kept aside; beyond, such messages stay with it.")
    ] = 256,
    previews: Annotated[
        float, typer.Option(min=0, help="Seconds between two refreshments of the previews for screens; 0: none.")
    ] = 60,
    metrics: Annotated[
        str | None,
        typer.Option(help="Serve /metrics, /healthz and /readyz there, as 127.0.0.1:9464.", show_default=False),
    ] = None,
    metrics_name: Annotated[
        list[str] | None, typer.Option(help="A name with dots they are asked for by, beside this machine's own.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Log warnings only.")] = False,
) -> None:
    """Write everything stations send into the database until Ctrl-C or SIGTERM."""
    from ingest.consumer import Access, Consumer  # noqa: PLC0415  needs the extra server

    password = os.environ.get(PASSWORD_VARIABLE)
    level = logging.WARNING if quiet else logging.INFO
    logs.start(steady=True, level=level, secrets=logs.secrets_of(dsn, password))
    host, port = address(broker)
    consumer = Consumer(
        dsn=dsn,
        host=host,
        port=port,
        client_id=client_id,
        group=group,
        writers=connections,
        previews=previews or None,
        access=Access(username, password, tls(ca, cert, key)),
        aside_quota=int(aside_quota_mb * 1e6),
    )
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stop.set())
    # The writer gives way at every piece it hands to the database; 5 ms, Python's own, to get its turn back is long.
    sys.setswitchinterval(0.0005)
    with contextlib.ExitStack() as stack:
        if metrics is not None:
            from ingest.endpoints import served  # noqa: PLC0415  a web server

            at = address(metrics, what="metrics address", default=METRICS_PORT)
            stack.enter_context(served(consumer, *at, names=metrics_name or ()))
        consumer.run(stop)
    tally = consumer.tally
    logs.say(
        f"{tally.stored} messages stored, {tally.aside} kept aside, {tally.repeated} had come before; "
        f"readings: {tally.rows_new} new, {tally.rows_same} there already, {tally.rows_aside} kept aside.",
        event="stopped",
    )


def address(text: str, *, what: str = "broker", default: int = MQTT_PORT) -> tuple[str, int]:
    """Return host and port of what is given as ``host:port`` or ``host``."""
    host, colon, port = text.rpartition(":")
    if not colon:
        return text, default
    with contextlib.suppress(ValueError):
        if host and 0 < int(port) < 2**16:
            return host.strip("[]"), int(port)
    raise DeployError(f"{what} {text!r} is not host:port, as 127.0.0.1:{default}")


def tls(ca: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """Return how to speak TLS, None where no certificate is given."""
    if ca is None and cert is None:
        return None
    try:
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
        if cert is not None:
            context.load_cert_chain(cert, key)
    except OSError as error:  # ssl's own errors are among them
        raise DeployError(f"certificates cannot be used (ca {ca}, cert {cert}, key {key}): {error}") from error
    return context
