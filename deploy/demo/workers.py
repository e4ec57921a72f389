"""Processes of the demonstration's own, one a core; Ctrl-C is the parent's to hear."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.pool import Pool


@contextmanager
def pool(tasks: int) -> Iterator[Pool]:
    """Yield as many processes as there are cores, at most one for each of the tasks; leaving the block ends them."""
    with ExitStack() as workers:
        with _ctrl_c_later():
            start = multiprocessing.get_context("spawn").Pool
            made = workers.enter_context(start(min(tasks, os.cpu_count() or 1), _deaf))
        yield made


@contextmanager
def _ctrl_c_later() -> Iterator[None]:
    """Hold Ctrl-C back within the block: a worker only half started would wait for ever, and we for it."""
    heard: list[int] = []
    earlier = signal.signal(signal.SIGINT, lambda number, _frame: heard.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, earlier)
        if heard:
            raise KeyboardInterrupt


def _deaf() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
