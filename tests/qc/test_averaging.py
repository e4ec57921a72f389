import math
from statistics import fmean

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from qc.averaging import hourly, minutes
from qc.errors import QcError
from qc.flags import Cause, Flag
from qc.schema import OBS, SchemaError, require
from tests.strategies import EPOCH_MS, times_ms, values

PLACE = {
    "station": "abc",
    "inlet": "50m",
    "inlet_height": 50.0,
    "latitude": 30.3,
    "longitude": 119.7,
    "altitude": 139.0,
}
HOUR_MS = EPOCH_MS // 3_600_000 * 3_600_000


def rows(time_ms, co2, flags=None, causes=None):
    """Judged rows of co2 as `qc.pipeline.rows` gives them."""
    size = len(time_ms)
    return xr.Dataset(
        {
            "co2": ("time", np.asarray(co2, float), {"units": "umol mol-1", "scale": "WMO CO2 X2019"}),
            "co2_flag": ("time", np.asarray([1] * size if flags is None else flags, np.int8)),
            "co2_cause": ("time", np.asarray([0] * size if causes is None else causes, np.int32)),
        },
        coords={"time": np.asarray(time_ms, "int64").astype("datetime64[ms]").astype("datetime64[ns]")},
        attrs=PLACE,
    )


@st.composite
def judged_rows(draw, **limits):
    time = draw(times_ms(max_step_ms=300_000, **limits))
    size = len(time)
    co2 = draw(st.lists(values(380, 450), min_size=size, max_size=size))
    flags = draw(st.lists(st.sampled_from([1, 1, 1, 1, 2, 3, 4, 9]), min_size=size, max_size=size))
    causes = [{1: 0, 9: 0}.get(flag, 1 << (i % 5)) for i, flag in enumerate(flags)]
    co2 = [math.nan if flag == 9 else x for x, flag in zip(co2, flags, strict=True)]
    return rows(time, co2, flags, causes)


def grouped(ds, width_ms):
    groups = {}
    for i in range(ds.sizes["time"]):
        t = int(ds["time"].values[i].astype("datetime64[ms]").astype("int64"))
        flag = int(ds["co2_flag"].values[i])
        if flag != 9:
            row = (float(ds["co2"].values[i]), flag, int(ds["co2_cause"].values[i]))
            groups.setdefault(t // width_ms * width_ms, []).append(row)
    return dict(sorted(groups.items()))


def starts(ds):
    return ds["time_bnds"].values[:, 0].astype("datetime64[ms]").astype("int64").tolist()


def check(ds, expected):
    """Compare means, SD and counts with those of plain groups of rows."""
    require(ds, OBS)
    assert starts(ds) == list(expected)
    for i, group in enumerate(expected.values()):
        good = [x for x, flag, _ in group if flag == 1]
        assert ds["co2_n"].values[i] == len(good)
        assert ds["co2_n_rejected"].values[i] == len(group) - len(good)
        if good:
            mean = fmean(good)
            assert ds["co2"].values[i] == pytest.approx(mean, rel=1e-12)
            variance = fmean([(x - mean) ** 2 for x in good])
            assert ds["co2_stdev"].values[i] == pytest.approx(math.sqrt(variance), abs=1e-6)
        else:
            assert math.isnan(ds["co2"].values[i])
            assert math.isnan(ds["co2_stdev"].values[i])
            assert ds["co2_flag"].values[i] == max(flag for _, flag, _ in group)
            assert ds["co2_cause"].values[i] == np.bitwise_or.reduce([cause for _, _, cause in group])


@given(judged_rows())
def test_minutes_are_those_of_a_plain_loop(ds):
    check(minutes(ds), grouped(ds, 60_000))


@given(judged_rows())
def test_hours_of_minutes_are_hours_of_rows(ds):
    check(hourly(minutes(ds), min_minutes=1), grouped(ds, 3_600_000))


@given(judged_rows(), st.integers(-100, 1000))
def test_a_constant_shifts_the_means_and_nothing_else(ds, shift):
    one = hourly(minutes(ds, u_cmr={"co2": 0.03}))
    other = hourly(minutes(ds.assign(co2=ds["co2"] + shift), u_cmr={"co2": 0.03}))
    np.testing.assert_allclose(other["co2"], one["co2"] + shift, atol=1e-9)
    for name in ("stdev", "u_random", "n", "n_rejected", "flag", "cause"):
        np.testing.assert_allclose(other[f"co2_{name}"], one[f"co2_{name}"], atol=1e-6)


@given(judged_rows(), st.integers(-1000, 1000))
def test_whole_hours_later_gives_the_same_bytes(ds, hours):
    shift = np.timedelta64(hours, "h")
    later = hourly(minutes(ds.assign_coords(time=ds["time"] + shift)))
    one = hourly(minutes(ds))
    assert (later["time"].values == one["time"].values + shift).all()
    for name in one.data_vars:
        if name != "time_bnds":
            assert later[name].values.tobytes() == one[name].values.tobytes()


@given(judged_rows(), st.randoms(use_true_random=False))
def test_the_order_within_a_minute_does_not_matter(ds, random):
    number = ds["time"].values.astype("datetime64[m]")
    order = []
    for minute in np.unique(number):
        inside = np.flatnonzero(number == minute).tolist()
        random.shuffle(inside)
        order += inside
    shuffled = ds.isel(time=order).assign_coords(time=ds["time"].values)
    one, other = minutes(ds), minutes(shuffled)
    for name in one.data_vars:
        np.testing.assert_allclose(
            other[name].values.astype(float), one[name].values.astype(float), rtol=1e-12, atol=2e-6
        )


@given(judged_rows(), st.integers(0, 200))
def test_pieces_cut_at_a_minute_give_what_the_whole_gives(ds, at):
    cut = np.datetime64(EPOCH_MS // 60_000 + at, "m")
    pieces = [minutes(ds.isel(time=ds["time"].values < cut)), minutes(ds.isel(time=ds["time"].values >= cut))]
    whole = minutes(ds)
    for name in whole.variables:
        together = np.concatenate([piece[name].values for piece in pieces])
        assert together.tobytes() == whole[name].values.tobytes()


def test_intervals_are_half_open_and_bounded():
    ds = minutes(rows([HOUR_MS, HOUR_MS + 59_999, HOUR_MS + 60_000], [1.0, 3.0, 7.0]))
    assert ds["co2"].values.tolist() == [2.0, 7.0]
    assert starts(ds) == [HOUR_MS, HOUR_MS + 60_000]
    assert (ds["time_bnds"][:, 1] - ds["time_bnds"][:, 0]).values.tolist() == [60 * 10**9] * 2
    assert (ds["time"] - ds["time_bnds"][:, 0]).values.tolist() == [30 * 10**9] * 2


def test_before_1970_too():
    ds = minutes(rows([-60_001, -60_000, -1, 0], [1.0, 2.0, 4.0, 8.0]))
    assert starts(ds) == [-120_000, -60_000, 0]
    assert ds["co2"].values.tolist() == [1.0, 3.0, 8.0]


def test_too_few_values_are_suspect_and_kept():
    ds = minutes(rows([HOUR_MS, HOUR_MS + 1, HOUR_MS + 60_000], [400.0, 402.0, 404.0]), min_values={"co2": 2})
    assert ds["co2"].values.tolist() == [401.0, 404.0]
    assert ds["co2_flag"].values.tolist() == [Flag.GOOD, Flag.SUSPECT]
    assert ds["co2_cause"].values.tolist() == [0, Cause.TOO_FEW]
    hour = hourly(ds, min_minutes=1)
    assert (hour["co2"].item(), hour["co2_n"].item(), hour["co2_n_minutes"].item()) == (402.0, 3, 2)
    assert hour["co2_flag"].item() == Flag.GOOD
    hour = hourly(ds, min_minutes=2)  # only one of the two minutes is good
    assert (hour["co2"].item(), hour["co2_flag"].item(), hour["co2_cause"].item()) == (402.0, 3, Cause.TOO_FEW)


def test_an_hour_of_bad_values_is_there_without_value():
    ds = rows([HOUR_MS, HOUR_MS + 60_000], [400.0, 401.0], [4, 2], [Cause.RANGE, Cause.WATER])
    hour = hourly(minutes(ds))
    assert math.isnan(hour["co2"].item())
    assert (hour["co2_flag"].item(), hour["co2_cause"].item()) == (Flag.BAD, Cause.RANGE | Cause.WATER)
    assert (hour["co2_n"].item(), hour["co2_n_rejected"].item()) == (0, 2)


def test_a_gas_without_row_in_an_interval_is_missing():
    ds = rows([HOUR_MS, HOUR_MS + 60_000], [400.0, np.nan], [1, 9])
    ds = ds.assign(
        ch4=("time", [np.nan, 1900.0], {"units": "nmol mol-1", "scale": "WMO CH4 X2004A"}),
        ch4_flag=("time", np.array([9, 1], np.int8)),
        ch4_cause=("time", np.zeros(2, np.int32)),
    )
    means = minutes(ds)
    assert means["co2_flag"].values.tolist() == [1, 9]
    assert means["ch4_flag"].values.tolist() == [9, 1]
    assert means["ch4_n"].values.tolist() == [0, 1]
    require(hourly(means), OBS)


def test_empty_input_gives_an_empty_result_that_meets_the_schema():
    empty = minutes(rows([], []))
    assert empty.sizes["time"] == 0
    require(empty, OBS)
    require(hourly(empty), OBS)
    assert hourly(empty).sizes["time"] == 0


def test_uncertainty_of_a_whole_hour_is_that_of_its_minutes():
    time = [HOUR_MS + 60_000 * i for i in range(60)]
    co2 = [400.0 + (i % 7) for i in range(60)]
    hour = hourly(minutes(rows(time, co2), u_cmr={"co2": 0.03}, u_shared={"co2": 0.02}))
    assert hour["co2_u_random"].item() == pytest.approx(0.03 / math.sqrt(60))
    assert hour["co2_u_shared"].item() == pytest.approx(0.02)
    assert hour["co2_uncertainty"].item() == pytest.approx(math.hypot(0.03 / math.sqrt(60), 0.02))


def test_uncertainty_of_a_partly_sampled_hour_has_the_error_of_sampling():
    co2 = [400.0, 401.0, 403.0, 402.0]
    hour = hourly(minutes(rows([HOUR_MS + 60_000 * i for i in range(4)], co2), u_cmr={"co2": 0.03}))
    variance = sum((x - 401.5) ** 2 for x in co2) / 3
    expected = math.sqrt(0.03**2 / 4 + (1 - 4 / 60) * variance / 4)
    assert hour["co2_u_random"].item() == pytest.approx(expected)
    assert math.isnan(hour["co2_u_shared"].item())
    assert math.isnan(hour["co2_uncertainty"].item())


def test_minutes_weigh_by_their_values_in_the_uncertainty_too():
    ds = rows([HOUR_MS, HOUR_MS + 1, HOUR_MS + 2, HOUR_MS + 60_000], [400.0] * 4)
    hour = hourly(minutes(ds, u_cmr={"co2": 0.1}))
    assert hour["co2_u_random"].item() == pytest.approx(0.1 * math.sqrt(9 + 1) / 4)


def test_one_minute_takes_its_own_spread_for_the_hours():
    hour = hourly(minutes(rows([HOUR_MS, HOUR_MS + 1], [400.0, 402.0]), u_cmr={"co2": 0.1}))
    assert hour["co2_u_random"].item() == pytest.approx(math.sqrt(0.01 + (1 - 1 / 60) * 1.0))


def test_sampling_error_is_what_random_minutes_of_an_hour_show():
    rng = np.random.default_rng(3)
    truth = 400 + rng.normal(0, 0.5, (4000, 60))
    squared, stated = [], []
    for hour in truth:
        chosen = np.sort(rng.choice(60, 12, replace=False))
        means = minutes(rows([HOUR_MS + 60_000 * int(i) for i in chosen], hour[chosen]), u_cmr={"co2": 0.0})
        got = hourly(means)
        squared.append((got["co2"].item() - hour.mean()) ** 2)
        stated.append(got["co2_u_random"].item() ** 2)
        if len(squared) == 400:
            break
    assert np.mean(stated) == pytest.approx(np.mean(squared), rel=0.2)


def test_archive_minutes_without_companions_of_ours():
    full = minutes(rows([HOUR_MS + 60_000 * i for i in range(6)], [400.0, 401, 402, 403, 404, 500]))
    kept = ["time_bnds", "co2", "co2_stdev", "co2_n", "co2_uncertainty", "co2_flag"]
    archive = full[kept].copy(deep=True)
    archive["co2_n"] = ("time", np.full(6, np.nan), {"units": "1"})
    archive["co2_stdev"] = ("time", np.full(6, np.nan), {"units": "umol mol-1"})
    archive["co2_flag"].values[5] = Flag.BAD
    archive["co2_flag"].values[4] = Flag.SUSPECT  # of a cause we do not know: not used
    hour = hourly(archive, min_minutes=4)
    assert (hour["co2"].item(), hour["co2_flag"].item(), hour["co2_n_minutes"].item()) == (401.5, Flag.GOOD, 4)
    assert hour["co2_stdev"].item() == pytest.approx(np.std([400, 401, 402, 403]))
    assert math.isnan(hour["co2_uncertainty"].item())


def test_hours_of_a_real_month_of_minutes(shared):
    """Tacolneston 100 m, July 2014: the hourly means against plain loops over the file's lines."""
    lines = (shared / "data/records/gcwerks_tac_100m_201407.dat").read_text(encoding="ascii").splitlines()[3:]
    table = [line.split() for line in lines]
    time = [np.datetime64(f"20{r[0][:2]}-{r[0][2:4]}-{r[0][4:]}T{r[1][:2]}:{r[1][2:4]}:{r[1][4:]}") for r in table]
    middle = np.array(time, "datetime64[ns]")
    start = middle.astype("datetime64[m]").astype("datetime64[ns]")
    co2, sd, n = (np.array([float(r[k]) for r in table]) for k in (7, 8, 9))
    flag = np.where(np.isnan(co2), 9, 1).astype(np.int8)
    template = minutes(rows([HOUR_MS], [400.0]))
    archive = xr.Dataset(
        {
            "time_bnds": (("time", "bnds"), np.stack([start, start + np.timedelta64(60, "s")], axis=1)),
            "co2": ("time", co2, template["co2"].attrs),
            "co2_stdev": ("time", sd, {"units": "umol mol-1"}),
            "co2_n": ("time", n, {"units": "1"}),
            "co2_uncertainty": ("time", np.full(co2.size, np.nan), {"units": "umol mol-1"}),
            "co2_flag": ("time", flag, template["co2_flag"].attrs),
        },
        coords={"time": middle},
        attrs=PLACE,
    )
    hours = hourly(archive)
    groups = {}
    for k, t in enumerate(start):
        groups.setdefault(t.astype("datetime64[h]"), []).append(k)
    assert hours.sizes["time"] == len(groups)
    assert int((hours["co2_n_minutes"] > 0).sum()) > 600
    for i, members in enumerate(groups.values()):
        inside = [k for k in members if not math.isnan(co2[k])]
        weight = sum(n[k] for k in inside)
        assert hours["co2_n"].values[i] == weight
        if inside:
            mean = sum(n[k] * co2[k] for k in inside) / weight
            variance = sum(n[k] * (sd[k] ** 2 + (co2[k] - mean) ** 2) for k in inside) / weight
            assert hours["co2"].values[i] == pytest.approx(mean, rel=1e-12)
            assert hours["co2_stdev"].values[i] == pytest.approx(math.sqrt(variance), rel=1e-6)


def test_what_is_not_obs_is_refused():
    with pytest.raises(SchemaError, match="time_bnds"):
        hourly(rows([HOUR_MS], [400.0]))


def test_intervals_across_the_hour_are_refused():
    means = minutes(rows([HOUR_MS], [400.0]))
    wide = means.assign(time_bnds=means["time_bnds"] + np.array([-60, 0]).astype("timedelta64[s]"))
    with pytest.raises(QcError, match="does not lie within one hour, nor do 0 others"):
        hourly(wide)


def test_the_input_is_not_changed():
    ds = rows([HOUR_MS, HOUR_MS + 60_000], [400.0, 401.0])
    before = ds.copy(deep=True)
    means = minutes(ds)
    kept = means.copy(deep=True)
    hourly(means)
    xr.testing.assert_identical(ds, before)
    xr.testing.assert_identical(means, kept)
