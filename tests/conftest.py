"""Fixtures: real servers and real data."""

import signal
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # --import-mode=importlib leaves it out; `tests.servers` lives here

from tests import servers  # noqa: E402  needs the line above

# A runner started in the background hands down SIGINT ignored; what tests start is to hear Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres_server():
    """Plain PostgreSQL of the whole session (`deploy.local.postgres.Postgres`)."""
    with servers.throwaway_postgres() as server:
        yield server


@pytest.fixture
def plain_dsn(postgres_server):
    """Fresh empty database on plain PostgreSQL."""
    with servers.fresh_database(postgres_server.dsn) as dsn:
        yield dsn


@pytest.fixture
def timescale_dsn():
    """Fresh empty database on a TimescaleDB server."""
    with servers.fresh_database(servers.timescale_server_dsn()) as dsn:
        yield dsn


@pytest.fixture(params=["plain", pytest.param("timescale", marks=pytest.mark.timescale)])
def dsn(request):
    """Fresh empty database, once on each level of the store."""
    return request.getfixturevalue(f"{request.param}_dsn")


@pytest.fixture
def broker():
    """Running broker (`deploy.local.broker.Broker`): Mosquitto where installed, else iotcore."""
    with servers.throwaway_broker() as server:
        yield server


@pytest.fixture
def mosquitto():
    """Running Mosquitto."""
    servers.require_mosquitto()
    with servers.throwaway_broker("mosquitto") as server:
        yield server


@pytest.fixture(scope="session")
def shared():
    """Folder of the shared design and data beside the repository."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        servers.absent(f"the shared data are absent: no folder {folder}")
    return folder
