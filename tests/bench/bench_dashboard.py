"""Benchmark of the network page: one JSON object a line.

``python -m tests.bench dashboard``. A visitor zooms from ten million readings of one channel (a reading a second) down
to a minute of them; what is timed is a zoom from its question until what is to be drawn is there. The reference is the
same zooms over a channel with a reading every ten minutes. Rounds alternate; figures are medians.
"""

import json
import statistics
import time

from deploy.local.postgres import Postgres
from ingest import screen
from tests.deploy.crowded import COUNT, FEW, MANY, WINDOWS, filled, looked
from tests.servers import throwaway_folder

ROUNDS = 5


def timed(conn, instrument, window):
    """Return seconds, and values that are drawn."""
    begin = time.perf_counter()
    seen = looked(conn, instrument, window)
    return time.perf_counter() - begin, seen.time.size


def main():
    with throwaway_folder() as folder, Postgres(folder) as server:
        filled(server.dsn)
        with screen.connect(server.dsn) as conn:
            for window in WINDOWS:
                times, drawn = {MANY: [], FEW: []}, 0
                for _ in range(ROUNDS):
                    for instrument in (MANY, FEW):
                        seconds, size = timed(conn, instrument, window)
                        times[instrument].append(seconds)
                        drawn = size if instrument == MANY else drawn
                many, few = (1000 * statistics.median(times[name]) for name in (MANY, FEW))
                figure = {
                    "name": f"dashboard.zoom_ms.{window.replace(' ', '_')}",
                    "value": round(many, 1),
                    "unit": "ms",
                }
                reference = f"the same zoom over {COUNT // 600} readings"
                more = {"reference": reference, "reference_value": round(few, 1), "ratio": round(many / few, 2)}
                print(json.dumps({**figure, **more, "readings": COUNT, "drawn": drawn}), flush=True)


if __name__ == "__main__":
    main()
