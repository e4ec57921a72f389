"""The C library's memory: kept small on a small machine. Does nothing where the C library is not glibc."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Final

M_ARENA_MAX: Final = -8


def use_one() -> None:
    """Keep the C library from making a heap for each thread: the agent has two that matter, and 3 MB count."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def trim() -> None:
    """Give back what is free: starting and a TLS handshake leave 4 MB behind."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
