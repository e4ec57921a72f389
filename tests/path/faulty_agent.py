"""Runs an agent until all is delivered; dies at the n-th time of a step, or copies its spool's files there and goes on.

Arguments: configuration, step, n, the project's folder, [folder for the copy].
"""

import os
import shutil
import sys
import threading
from pathlib import Path

sys.path.insert(0, sys.argv[4])
from station_agent.agent import Agent
from station_agent.config import read_config
from station_agent.rescue import set_aside
from station_agent.sources import open_source
from station_agent.spool import Spool

config = read_config(Path(sys.argv[1]))
seen = 0


def at(step):
    """Pull the plug, or see how the files stand."""
    global seen  # noqa: PLW0603 - one counter of one script
    seen += step == sys.argv[2]
    if step != sys.argv[2] or seen != int(sys.argv[3]):
        return
    if len(sys.argv) == 5:
        os._exit(9)
    for part in config.spool.path.parent.glob("spool.db*"):
        shutil.copy(part, Path(sys.argv[5]) / part.name)


if sys.argv[2].startswith("rescue"):
    set_aside(config.spool.path, "test", station=config.station, samples=60, report_to="g2301", on_step=at)
with Spool(config.spool.path, station=config.station, samples=config.batch.samples, on_step=at) as spool:
    sources = [open_source(entry, spool.positions(entry.name)) for entry in config.instruments]
    Agent(config, spool, sources, on_step=at).run(threading.Event(), until_drained=True)
