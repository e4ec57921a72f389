"""One pool of threads at work: that of scipy's BLAS, which factorises, and not numpy's beside it.

numpy's and scipy's wheels bring an OpenBLAS each, with threads of their own. Those of one go on spinning for some 20 ms
after its last call, on the cores where the other's then work: with two cores, a product of matrices by numpy between
two factorisations by scipy costs these half their speed. Where both use one library (as conda's do) nothing is changed.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from pathlib import Path

from threadpoolctl import ThreadpoolController

_turn = threading.Lock()
"""Held by the one who has bounded the pool: it is the whole process's."""


@contextlib.contextmanager
def scipy_alone() -> Iterator[None]:
    """Keep numpy's own BLAS to one thread; usable as a decorator.

    Inside another, or beside one, it changes nothing. A limit of somebody else's that is set inside and lifted outside
    gives back what it found there: one thread.
    """
    if not _turn.acquire(blocking=False):
        yield
        return
    try:
        with _numpys().limit(limits=1):
            yield
    finally:
        _turn.release()


@functools.cache
def _numpys() -> ThreadpoolController:
    """Return the BLAS that came in numpy's wheel, if scipy's brought another."""
    import scipy.linalg  # noqa: F401, PLC0415  loads its library

    every = ThreadpoolController()
    own = {
        name: [pool["filepath"] for pool in every.info() if Path(pool["filepath"]).parent.name == name]
        for name in ("numpy.libs", "scipy.libs")
    }
    return every.select(filepath=own["numpy.libs"] if own["scipy.libs"] else [])
