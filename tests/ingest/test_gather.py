import threading
import time

from ingest.gather import Delivery, Inbox
from tests.ingest.payloads import batch, said, samples

SMALL = said(batch(samples(10)))
ROWS = Delivery(1, SMALL).rows


def delivery():
    return Delivery(1, SMALL)


def test_a_lone_message_waits_a_moment_and_not_longer():
    inbox = Inbox(linger=0.1)
    begin = time.monotonic()
    threading.Timer(0.05, inbox.put, [delivery()]).start()
    assert len(inbox.take()) == 1
    assert 0.14 < time.monotonic() - begin < 0.5


def test_enough_rows_are_taken_at_once_and_no_more_than_that():
    inbox = Inbox(max_rows=2 * ROWS + 1, capacity=6 * ROWS, linger=60)
    for _ in range(6):
        inbox.put(delivery())
    assert inbox.full
    assert [len(inbox.take()) for _ in range(2)] == [2, 2]
    assert not inbox.full
    inbox.close()
    assert [len(inbox.take()) for _ in range(2)] == [2, 0]


def test_a_message_larger_than_a_transaction_is_taken_alone():
    inbox = Inbox(max_rows=10, capacity=20, linger=60)
    for _ in range(2):
        inbox.put(delivery())
    assert len(inbox.take()) == 1


def test_bytes_that_mean_nothing_fill_the_inbox_too():
    inbox = Inbox(capacity=60_000)
    inbox.put(Delivery(1, said(b"x" * 10**6)))
    assert inbox.full


def test_when_busy_a_short_silence_is_enough():
    inbox = Inbox(linger=60)
    for _ in range(400):
        inbox.put(delivery())
    begin = time.monotonic()
    assert len(inbox.take()) == 400
    assert time.monotonic() - begin < 1


def test_closing_wakes_who_waits():
    inbox = Inbox()
    threading.Timer(0.05, inbox.close).start()
    assert inbox.take() == []
