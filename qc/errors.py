"""The exceptions of quality control: one root, each message saying what, where, got, expected, what next."""


class QcError(Exception):
    """Root of everything qc raises on purpose."""


class ConfigError(QcError):
    """The configuration is wrong; the message lists every fault."""


class RuleError(QcError):
    """A table of rules cannot be read; the message lists every fault."""
