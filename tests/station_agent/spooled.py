"""Readings and answers for tests of the spool."""

from station_agent.reading import Reading
from station_agent.sample import Sample
from station_agent.wire import Acknowledgement, Outcome, decode


def reading(first, last, *, offset=None, notices=(), instrument="g2301"):
    """Return the samples first ... last - 1, a second apart, and a position."""
    samples = [Sample(number * 10**9, {"co2": 400.0 + number}, "1", 963) for number in range(first, last)]
    return Reading(instrument, samples, notices, {} if offset is None else {"a.dat": {"offset": offset}})


def answer(batches, outcome=Outcome.STORED):
    """Return the server's word on batches."""
    return [Acknowledgement(decode(batch.payload).seq, batch.digest, outcome) for batch in batches]
