"""The exceptions of ingest: one root, each message saying what, where, got, expected, what next."""


class IngestError(Exception):
    """Root of everything ingest raises on purpose."""


class MigrationError(IngestError):
    """The database's schema and the migrations of this version do not fit together."""


class StoreError(IngestError):
    """The store cannot be written or read as asked."""


class NoMeansError(StoreError):
    """A series has no means in the range asked for."""


class CatalogueError(IngestError):
    """A catalogue document is wrong; the message lists every fault."""


class AsideError(IngestError):
    """A message kept aside cannot be shown, mended or replayed as asked."""


class FileError(IngestError):
    """A file cannot be read, or a dataset not be written to one; the message names file and line."""
