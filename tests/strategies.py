"""Hypothesis strategies for datasets: READINGS as instruments of several kinds would send them."""

import numpy as np
import xarray as xr
from hypothesis import strategies as st

from qc.flushing import MOVING
from qc.units import QUANTITIES

EPOCH_MS = 1_700_000_000_000  # a round time the datasets begin near
"""Milliseconds since 1970."""
PORTS = ("1", "2", "10")


def dataset(time_ms, quantities, *, port=None, status=None, mark=None, station="abc", instrument="g2301"):
    """Return READINGS from plain lists: quantity -> one value (NaN: none) a row."""
    time = np.asarray(time_ms, dtype="int64").astype("datetime64[ms]").astype("datetime64[ns]")
    size = time.size
    variables = {
        name: ("time", np.asarray(values, dtype=np.float64), {"units": QUANTITIES[name].unit})
        for name, values in quantities.items()
    }
    variables["port"] = ("time", np.asarray([""] * size if port is None else port, dtype=object))
    variables["status"] = ("time", np.full(size, np.nan) if status is None else np.asarray(status, np.float64))
    variables["mark"] = ("time", np.zeros(size, np.int64) if mark is None else np.asarray(mark, np.int64))
    return xr.Dataset(variables, coords={"time": time}, attrs={"station": station, "instrument": instrument})


@st.composite
def times_ms(draw, *, max_rows=80, max_step_ms=200_000):
    """Return increasing times, some rows a second apart, some after long gaps."""
    size = draw(st.integers(0, max_rows))
    step = st.one_of(st.integers(1, 5_000), st.integers(1, max_step_ms))
    steps = draw(st.lists(step, min_size=size, max_size=size))
    begin = EPOCH_MS + draw(st.integers(0, 3_600_000))
    return (begin + np.cumsum([0, *steps[1:]])).tolist() if size else []


def values(low, high):
    """Return finite values between two limits, with few digits so that failures can be read."""
    return st.integers(int(low * 1000), int(high * 1000)).map(lambda x: x / 1000)


@st.composite
def ports_of(draw, size):
    """Return a port for each of `size` rows: the valve stays for a while, moves, stays at another."""
    chosen = []
    while len(chosen) < size:
        if draw(st.booleans()):
            chosen.append(MOVING)
        chosen += [draw(st.sampled_from(PORTS))] * draw(st.integers(1, 30))
    return chosen[:size]


@st.composite
def readings(draw, *, valve=True, cyclic=None, co2=(350.0, 480.0), max_rows=80):
    """Return READINGS with co2, h2o_reported and cavity_pressure.

    Parameters
    ----------
    valve : bool
        Whether rows have ports.
    cyclic : bool, optional
        Whether a gas is new only on its own rows (as a G2301 writes) or on every row; drawn where not given.
    """
    time = draw(times_ms(max_rows=max_rows))
    size = len(time)
    in_turn = draw(st.booleans()) if cyclic is None else cyclic
    phase = draw(st.integers(0, 2))
    turn = [(i + phase) % 3 for i in range(size)]

    def column(strategy, own, missing):
        gap = st.just(float("nan"))
        drawn = draw(st.lists(st.one_of(strategy, gap) if missing else strategy, min_size=size, max_size=size))
        return [x if own is None or not in_turn or turn[i] == own else float("nan") for i, x in enumerate(drawn)]

    return dataset(
        time,
        {
            "co2": column(values(*co2), 0, missing=True),
            "h2o_reported": column(values(0.0, 3.0), 1, missing=True),
            "cavity_pressure": column(values(185.5, 188.0), None, missing=True),
        },
        port=draw(ports_of(size)) if valve else None,
        status=column(st.sampled_from([963.0, 963.0, 963.0, 899.0]), None, missing=True),
    )
