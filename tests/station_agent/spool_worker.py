"""Reads a hundred samples into a spool and delivers them to a file; dies at the n-th time of a step.

Arguments: spool, step, n, the project's folder.
"""

import os
import sys
from pathlib import Path

from station_agent.spool import Spool
from station_agent.wire import Outcome, decode

sys.path.insert(0, sys.argv[4])
from tests.station_agent.spooled import answer, reading

seen = 0


def die(step):
    """Die as if the power had gone, at the step that was asked for."""
    global seen  # noqa: PLW0603 - one counter of one script
    seen += step == sys.argv[2]
    if step == sys.argv[2] and seen == int(sys.argv[3]):
        os._exit(9)


def deliver(spool):
    """Hand two batches to the server (a file) and apply what it says, now and then `rekey`."""
    for batch in spool.unsent(after=0, limit=2):
        with Path(sys.argv[1] + ".server").open("a") as server:
            server.write(f"{batch.digest} {batch.payload.hex()}\n")
        taken = batch.id % 5 == 0 and decode(batch.payload).seq > 3
        spool.acknowledge(answer([batch], Outcome.REKEY if taken else Outcome.STORED))


with Spool(Path(sys.argv[1]), station="lin-an", samples=10, on_step=die) as spool:
    while (done := spool.positions("g2301").get("a.dat", {"offset": 0})["offset"]) < 100:
        spool.append(reading(done, done + 4, offset=done + 4))
        if done % 12 == 0:
            spool.freeze("g2301")
        deliver(spool)
    spool.freeze("g2301")
