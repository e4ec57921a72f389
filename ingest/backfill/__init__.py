"""Files filled in afterwards: an instrument's own files into readings, an archive's files into means."""

from ingest.backfill.archive import archive_file
from ingest.backfill.instrument import instrument_file
from ingest.backfill.ledger import Filled, Reason

__all__ = ["Filled", "Reason", "archive_file", "instrument_file"]
