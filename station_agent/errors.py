"""The exceptions of the agent: one root, each message saying what, where, got, expected, what next."""


class AgentError(Exception):
    """Root of everything the agent raises on purpose."""


class WireError(AgentError):
    """Bytes, a topic or a name do not follow the wire format."""


class ConfigError(AgentError):
    """The configuration is wrong; the message lists every fault."""


class DriverError(AgentError):
    """A file or a stream is not what the driver reads."""


class SpoolError(AgentError):
    """The spool cannot be opened, read or written."""


class SpoolUnwritableError(SpoolError):
    """The spool cannot be written now (a full or read-only disk, a file somebody else holds); nothing was changed."""


class SpoolDamagedError(SpoolError):
    """The spool's file is no longer what SQLite wrote; it has to be set aside."""
