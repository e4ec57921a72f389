"""The network of tests of the whole path."""

import pytest

from tests import servers
from tests.path.network import Network, document


@pytest.fixture
def network():
    """Database, broker and ingest with one station in the catalogue."""
    with servers.throwaway_folder() as folder, Network(folder) as one:
        one.apply(document())
        one.start_ingest()
        one.wait_for_ingest()
        yield one
