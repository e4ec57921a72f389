import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qc.errors import QcError
from qc.flushing import split
from tests import strategies
from tests.qc import brute
from tests.strategies import EPOCH_MS, dataset


def readings(port, step_s=10):
    return dataset([EPOCH_MS + 1000 * step_s * i for i in range(len(port))], {"co2": [400.0] * len(port)}, port=port)


def test_rows_after_a_change_are_flushed_and_moving_belongs_to_what_follows():
    ds = readings(["1", "1", "moving", "10", "10", "10", "1", "1"])
    ten = split(ds, ["10"], seconds=15)
    assert ten.rows.tolist() == [2, 3, 4, 5]
    assert ten.flushing.tolist() == [True, True, True, False]
    one = split(ds, ["1"], seconds=15)
    assert one.rows.tolist() == [0, 1, 6, 7]
    assert one.flushing.tolist() == [True, True, True, True]
    assert split(ds, ["1"], seconds=10).flushing.tolist() == [True, False, True, False]


def test_the_flushing_time_itself_is_over():
    assert split(readings(["1", "10", "10"]), ["10"], seconds=10).flushing.tolist() == [True, False]
    assert split(readings(["1", "10", "10"]), ["10"]).flushing.tolist() == [False, False]


def test_moving_at_the_end_belongs_to_what_came_before():
    assert split(readings(["1", "10", "moving"]), ["10"]).rows.tolist() == [1, 2]
    assert split(readings(["moving"]), ["10"]).rows.tolist() == []


def test_after_an_outage_the_valve_counts_as_just_arrived():
    ds = readings(["1", "1", "1", "1"], step_s=100)
    assert split(ds, ["1"], seconds=150, outage_seconds=100).flushing.tolist() == [True, True, False, False]
    assert split(ds, ["1"], seconds=150, outage_seconds=99).flushing.tolist() == [True] * 4
    moved = readings(["1", "moving", "10"], step_s=100)
    assert split(moved, ["10"], outage_seconds=100).rows.tolist() == [1, 2]
    assert split(moved, ["1"], outage_seconds=100).rows.tolist() == [0]
    assert split(moved, ["10"], outage_seconds=99).rows.tolist() == [2]
    assert split(moved, ["1"], outage_seconds=99).rows.tolist() == [0]


def test_two_ports_of_one_inlet_are_both_its_own():
    ports = split(readings(["1", "10", "2"]), ["10", "2"])
    assert ports.rows.tolist() == [1, 2]


def test_without_a_valve_all_rows_belong():
    ports = split(readings(["", "", "moving", ""]), [])
    assert ports.rows.tolist() == [0, 1, 2, 3]
    assert ports.flushing.tolist() == [False, False, True, False]


def test_several_ports_and_none_configured_is_refused():
    with pytest.raises(QcError, match=r"abc/g2301 come from ports '1', '10'.*say in `ports`"):
        split(readings(["1", "10", "moving"]), [])


def test_nothing():
    ports = split(readings([]), ["1"], seconds=60)
    assert ports.rows.size == ports.flushing.size == 0


@settings(max_examples=60)
@given(
    strategies.readings(),
    st.integers(0, 300),
    st.integers(0, 300),
    st.sets(st.sampled_from(["1", "2", "10", "7"]), min_size=1),
)
def test_as_a_plain_loop_splits(ds, seconds, outage, ours):
    table = brute.rows_of(ds)
    expected = [i for i in range(len(table)) if brute.settled_port(table, i, outage) in ours]
    ports = split(ds, sorted(ours), seconds=seconds, outage_seconds=outage)
    assert ports.rows.tolist() == expected
    assert ports.flushing.tolist() == [brute.flushing(table, i, seconds, outage) for i in expected]


@settings(max_examples=60)
@given(strategies.readings())
def test_every_row_belongs_to_one_port(ds):
    if ds.sizes["time"] and (ds["port"].values != "moving").any():
        found = np.concatenate([split(ds, [port], outage_seconds=1e6).rows for port in strategies.PORTS])
        assert sorted(found.tolist()) == list(range(ds.sizes["time"]))


def test_each_port_has_its_own_time():
    ms = [EPOCH_MS + 1000 * k for k in range(40)]
    ds = dataset(ms, {"co2": [400.0] * 40}, port=["1"] * 20 + ["10"] * 20)
    kept = split(ds, ["1", "10"], seconds={"1": 5.0, "10": 12.0})
    assert np.flatnonzero(kept.flushing).tolist() == [*range(5), *range(20, 32)]
    assert not split(ds, ["1", "10"], seconds={}).flushing.any()
