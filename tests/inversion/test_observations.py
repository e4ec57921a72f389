"""Which observations are taken, what is counted, and R."""

import numpy as np
import pytest
import xarray as xr

from inversion.covariance import BlockDiagonal, Diagonal
from inversion.errors import SelectionError
from inversion.observations import REASONS, errors, gather, solar_hour
from inversion.transport import footprints
from qc.flags import flag_attributes
from qc.schema import OBS, SchemaError, require

START = np.datetime64("2024-03-01", "ns")
HOUR = np.timedelta64(1, "h")


def series(
    station="lan", inlet="50m", height=50.0, *, n=48, longitude=120.0, species="co2", units="umol mol-1", **changes
):
    start = START + np.arange(n) * HOUR
    value = 420 + np.sin(np.arange(n))
    fields = {
        species: value,
        f"{species}_stdev": np.full(n, 0.5),
        f"{species}_n": np.full(n, 30.0),
        f"{species}_uncertainty": np.full(n, 0.1),
        f"{species}_flag": np.ones(n, dtype=np.int8),
        **changes,
    }
    attrs = {
        species: {"units": units, "scale": "WMO CO2 X2019"},
        f"{species}_stdev": {"units": units},
        f"{species}_n": {"units": "1"},
        f"{species}_uncertainty": {"units": units},
        f"{species}_flag": flag_attributes(),
    }
    ds = xr.Dataset(
        {name: ("time", values, attrs[name]) for name, values in fields.items()}
        | {"time_bnds": (("time", "bnds"), np.stack([start, start + HOUR], axis=1))},
        coords={"time": start + HOUR // 2},
        attrs={
            "station": station,
            "inlet": inlet,
            "inlet_height": height,
            "latitude": 30.0,
            "longitude": longitude,
            "altitude": 100.0,
        },
    )
    require(ds, OBS)
    return ds


def flags(n=48, **wrong):
    values = np.ones(n, dtype=np.int8)
    for at, flag in wrong.items():
        values[int(at[1:])] = flag
    return values


def test_local_afternoons_only():
    selected = gather([series()], "co2")
    hour = solar_hour(selected.observations["time"].values, 120.0)
    assert ((hour >= 11) & (hour < 17)).all()
    # 120° E is eight hours before UTC: 11 h is 03 UTC, and the middles are 03:30 ... 08:30.
    assert list(selected.observations["time"].dt.hour.values[:6]) == [3, 4, 5, 6, 7, 8]
    assert selected.observations.sizes["obs"] == 12
    counts = selected.counts.isel(series=0)
    assert int(counts.sel(outcome="kept")) == 12
    assert int(counts.sel(outcome="hour")) == 36


def test_nights_of_a_mountain_past_midnight():
    both = [series("lan"), series("wlg")]
    selected = gather(both, "co2", site_hours={"wlg": (22.0, 4.0)})
    night = selected.observations.where(selected.observations["site"] == "wlg", drop=True)
    hour = solar_hour(night["time"].values.astype("datetime64[ns]"), 120.0)
    assert ((hour >= 22) | (hour < 4)).all()
    assert night.sizes["obs"] == 12


def test_every_value_is_counted_once_under_its_first_reason():
    n = np.full(48, 30.0)
    n[[3, 4]] = 2
    u = np.full(48, 0.1)
    u[4] = np.nan
    upper = series(inlet="100m", height=100.0, co2_flag=flags(i5=4, i6=3, i7=9), co2_n=n, co2_uncertainty=u)
    selected = gather([series(), upper], "co2", minimum=10)
    table = selected.counts.set_index(series="inlet")
    assert int(table.sel(series="50m", outcome="inlet")) == 48
    expected = {"inlet": 0, "flag": 3, "uncertainty": 1, "too_few": 1, "hour": 36, "kept": 7}
    assert {
        str(o): int(v) for o, v in zip(table["outcome"].values, table.sel(series="100m").values, strict=True)
    } == expected
    assert int(selected.counts.sum()) == 96
    assert set(selected.observations["inlet"].values) == {"100m"}


def test_a_flagged_value_is_left_out_whatever_it_is():
    value = np.full(48, 420.0)
    value[4] = 9999.0
    assert gather([series(co2=value, co2_flag=flags(i4=4))], "co2").observations["mole_fraction"].max() == 420


def test_inlets_can_be_named_or_all():
    both = [series(), series(inlet="100m", height=100.0)]
    assert set(gather(both, "co2", inlet="50m").observations["inlet"].values) == {"50m"}
    together = gather(both, "co2", inlet="all", hours=None).observations
    assert together.sizes["obs"] == 96
    assert (np.diff(together["time"].values) >= np.timedelta64(0, "ns")).all()


def test_a_tree_and_series_of_other_gases():
    tree = xr.DataTree.from_dict(
        {
            "lan/50m": series(),
            "gat/10m": series("gat", "10m", 10.0),
            "x/y": series("x", species="ch4", units="nmol mol-1"),
        }
    )
    observations = gather(tree, "co2").observations
    assert list(dict.fromkeys(observations["site"].values)) == ["gat", "lan"]
    assert observations["mole_fraction"].attrs["units"] == "umol mol-1"


def test_what_cannot_be_put_together_is_refused():
    other = series("gat")
    other["co2"].attrs["scale"] = "WMO CO2 X2007"
    with pytest.raises(SelectionError, match="differ in scale"):
        gather([series(), other], "co2")
    with pytest.raises(SelectionError, match="No series has the gas 'sf6'"):
        gather([series()], "sf6")
    with pytest.raises(SelectionError, match="is left of 48; dropped for: inlet 0, flag 48"):
        gather([series(co2_flag=np.full(48, 4, dtype=np.int8))], "co2")
    with pytest.raises(SchemaError):
        gather([series().drop_vars("co2_uncertainty")], "co2")


def test_observations_are_receptors():
    observations = gather([series(), series("gat", longitude=118.0)], "co2").observations
    time = START + np.arange(-48, 60) * HOUR
    met = xr.Dataset(
        {k: ("time", np.full(time.size, v)) for k, v in
         {"u": 3.0, "v": 1.0, "blh": 900.0, "rho": 1.2, "sigma_v": 0.5, "sigma_w": 0.5}.items()}, coords={"time": time}
    )  # fmt: skip
    cells = xr.Dataset(coords={"longitude": np.arange(110.0, 125.0), "latitude": np.arange(25.0, 35.0)})
    fp = footprints(observations, met, cells)
    assert list(fp["site"].values) == list(observations["site"].values)


def test_independent_errors():
    observations = gather([series()], "co2").observations
    R = errors(observations, representation=2.0)
    assert isinstance(R, Diagonal)
    np.testing.assert_allclose(R.diagonal(), 0.1**2 + 2.0**2)
    within = errors(observations, representation={"lan": 2.0}, within=True)
    np.testing.assert_allclose(within.diagonal(), 0.1**2 + 2.0**2 + 0.5**2)


def test_correlated_errors_stay_within_a_site():
    observations = gather([series("lan"), series("gat", n=30)], "co2").observations
    R = errors(observations, representation={"lan": 2.0, "gat": 1.0}, correlation_hours=6.0)
    assert isinstance(R, BlockDiagonal)
    C = R.to_dense()
    hours = (observations["time"].values - START) / HOUR
    site = observations["site"].values
    r = np.where(site == "lan", 2.0, 1.0)
    expected = (site[:, None] == site) * r[:, None] * r * np.exp(-np.abs(hours[:, None] - hours) / 6) + 0.01 * np.eye(
        len(r)
    )
    np.testing.assert_allclose(C, expected)


def test_errors_ask_for_what_is_missing():
    observations = gather([series("lan"), series("gat")], "co2").observations
    with pytest.raises(SelectionError, match="gat"):
        errors(observations, representation={"lan": 1.0})
    shuffled = observations.isel(obs=np.random.default_rng(0).permutation(observations.sizes["obs"]))
    with pytest.raises(SelectionError, match="do not stand together"):
        errors(shuffled, representation=1.0, correlation_hours=6.0)


def test_reasons_are_those_of_the_table():
    assert (*REASONS, "kept") == tuple(gather([series()], "co2").counts["outcome"].values)
