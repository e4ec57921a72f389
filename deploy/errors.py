"""The exceptions of the composition root: one sentence each, saying what, where, and what to do next."""


class DeployError(Exception):
    """Root of everything `deploy` raises on purpose."""


class ServerError(DeployError):
    """A server of the one-machine stack cannot be found, started, reached or stopped."""
