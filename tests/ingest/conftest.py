"""A store with a catalogue, on both levels."""

import pytest

from ingest import catalogue
from ingest.database import connect
from ingest.migrate import migrate
from ingest.store import Writer
from tests.ingest.payloads import CATALOGUE


def prepared(dsn):
    migrate(dsn)
    catalogue.apply(dsn, CATALOGUE)
    return dsn


@pytest.fixture
def store(dsn):
    """DSN of a migrated database with a catalogue, once on each level."""
    return prepared(dsn)


@pytest.fixture
def plain_store(plain_dsn):
    """The same on plain PostgreSQL only, where the level does not matter."""
    return prepared(plain_dsn)


@pytest.fixture
def writer(store):
    """Writer on that store."""
    with connect(store) as conn:
        yield Writer(conn)
