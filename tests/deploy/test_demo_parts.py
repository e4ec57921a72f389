"""Parts of the demonstration: the simulated instrument against the driver, the bad link, the planted error."""

import socket
import threading
from random import Random

import numpy as np
import pytest
import xarray as xr

from deploy.demo import desk, weather, world
from deploy.demo.instrument import Air, Instrument
from deploy.demo.link import BadLink
from deploy.demo.network import SITES, TANKS, Trouble, catalogue
from deploy.demo.operation import Operation, Round
from inversion import crosscheck, transport
from inversion.observations import solar_hour
from inversion.transport import particles
from qc.water import COEFFICIENTS, dry_mole_fraction
from station_agent.drivers import read_file

START = 1_751_328_000


def written(tmp_path, trouble=Trouble.NONE, hours=2, row_seconds=5.0):
    rng = np.random.default_rng(1)
    co2 = np.array([[420.0, 430.0]] * hours)
    air = Air(START, co2, co2 + 1500.0, np.full(hours, 1.5))
    instrument = Instrument("SIM-001", ("1", "2"), trouble, row_seconds=row_seconds, noise_co2=0.0, noise_ch4=0.0)
    rows = instrument.write(air, tmp_path, rng)
    rejected = []
    samples = [s for f in sorted(tmp_path.iterdir()) for s in read_file(f, on_rejected=rejected.append)]
    return rows, samples, rejected


def test_its_files_are_read_by_the_driver_and_give_the_truth_back(tmp_path):
    rows, samples, rejected = written(tmp_path)
    assert (rows, len(samples), rejected) == (1440, 1440, [])
    assert {s.port for s in samples} == {"1", "2"}
    waters = [(s.time_ns, s.values["h2o_reported"]) for s in samples if "h2o_reported" in s.values]
    times, values = map(np.array, zip(*waters, strict=True))
    c = COEFFICIENTS["picarro_g2301", "co2"]
    for sample in samples[3:-3]:
        if "co2" in sample.values:
            after = np.searchsorted(times, sample.time_ns)
            h = (values[after - 1] + values[after]) / 2
            dry = dry_mole_fraction(sample.values["co2"], h, a=c.a, b=c.b)
            assert dry == pytest.approx(420.0 if sample.port == "1" else 430.0, rel=1e-9)


def test_its_water_changes_dry_to_wet(tmp_path):
    _, samples, _ = written(tmp_path)
    wet = [s.values["co2"] for s in samples if "co2" in s.values and s.port == "1"]
    assert max(wet) < 415.0


def test_the_station_with_cylinders_is_calibrated_by_them_and_no_other():
    with_tanks = [site.name for site in SITES if site.tanks]
    first, *others = desk.configuration()
    assert [first["station"]] == with_tanks
    assert {s["cylinder"] for s in first["calibration"]["standard"]} == {t.name for t in TANKS if not t.target}
    assert all("station" not in series and "calibration" not in series for series in others)
    assert {c["name"] for c in catalogue()["cylinder"]} == {t.name for t in TANKS}
    (site,) = (site for site in SITES if site.tanks)
    assert site.operation.cylinders == {t.port: (t.co2, t.ch4) for t in TANKS}
    assert set(site.operation.rounds[0].ports).isdisjoint(site.ports())


def test_a_drift_leaves_the_allowed_cell_pressure(tmp_path):
    _, samples, _ = written(tmp_path, Trouble.DRIFT)
    torr = np.array([s.values["cavity_pressure"] for s in samples]) / 1.333223684
    assert abs(torr[:200] - 140).max() < 0.2
    assert torr[-1] == pytest.approx(144.0, abs=0.2)


def test_spikes_are_few_and_far_out(tmp_path):
    _, samples, _ = written(tmp_path, Trouble.SPIKES, hours=24, row_seconds=20.0)
    ch4 = np.array([s.values["ch4"] for s in samples if "ch4" in s.values])
    assert 0 < np.mean(ch4 > 20_000) < 0.1
    assert np.median(ch4) < 2000


def test_a_power_cut_leaves_one_broken_line(tmp_path):
    rows, samples, rejected = written(tmp_path, Trouble.BAD_LINK)
    assert (len(rejected), len(samples)) == (1, rows - 1)


def operated(tmp_path, operation, *, step_seconds=3600, hours=6, noise=0.0):
    steps = hours * 3600 // step_seconds
    co2 = np.full((steps, 1), 420.0) + 3.0 * (np.arange(steps) * step_seconds / 3600)[:, None]
    air = Air(START, co2, co2 + 1500.0, np.full(steps, 1.5), step_seconds=step_seconds)
    instrument = Instrument("SIM-001", ("1",), noise_co2=noise, noise_ch4=noise, operation=operation)
    instrument.write(air, tmp_path, np.random.default_rng(1))
    assert len(list(tmp_path.iterdir())) == hours
    samples = [s for f in sorted(tmp_path.iterdir()) for s in read_file(f)]
    dry = [s for s in samples if "co2_dry" in s.values]
    second = np.array([s.time_ns / 1e9 - START for s in dry])
    return second, np.array([s.port for s in dry]), {
        name: np.array([s.values[name] for s in dry]) for name in ("co2_dry", "ch4_dry", "h2o_reported")
    }  # fmt: skip


def test_cylinders_come_by_turns_and_are_flushed_in(tmp_path):
    operation = Operation({"5": (400.0, 1900.0), "6": (450.0, 2100.0)}, (Round(("5", "6"), 7200, 1800),))
    second, port, value = operated(tmp_path, operation)
    for begin in (1800, 9000, 16_200):
        for place, held in enumerate((400.0, 450.0)):
            since = second - begin - 600 * place
            settled = (since > 150) & (since < 590)
            assert set(port[settled]) == {"56"[place]}
            np.testing.assert_allclose(value["co2_dry"][settled], held, atol=0.02)
            np.testing.assert_allclose(value["h2o_reported"][settled], 0.0, atol=1e-3)
            early = value["co2_dry"][(since > 25) & (since < 34)]  # measured some ten seconds before
            assert early.size
            assert (abs(early - held) > 15).all()  # what was there before is still on its way
    assert (port == "1").mean() == pytest.approx(1 - 3 * 1200 / (6 * 3600), abs=0.01)


def test_an_operated_instrument_drifts_and_has_an_offset(tmp_path):
    second, _, value = operated(tmp_path, Operation(offset=(0.5, 4.0), drift=(1.2, 12.0)))
    air = 420.0 + 3.0 * np.floor((second - 10) / 3600)
    steady = (second % 3600 > 60) & (second > 60)
    np.testing.assert_allclose((value["co2_dry"] - air - 0.5 - 1.2 * second / 86_400)[steady], 0.0, atol=0.01)
    np.testing.assert_allclose((value["ch4_dry"] - air - 1504.0 - 12 * second / 86_400)[steady], 0.0, atol=0.1)


def test_air_in_short_steps_is_measured_as_such_and_plumes_are_short_rises(tmp_path):
    second, _, value = operated(tmp_path, Operation(plumes_per_day=16), step_seconds=60)
    rise = value["co2_dry"] - (420.0 + 3.0 * second / 3600)
    assert abs(np.median(rise)) < 0.05
    begins = np.flatnonzero(np.diff((rise > 0.5).astype(int)) == 1)
    assert 2 <= begins.size <= 4
    assert 3.0 <= rise.max() < 31.0
    assert 0.005 < (rise > 0.5).mean() < 0.15


def test_the_bad_link_forwards_and_hangs_up():
    echo = socket.create_server(("127.0.0.1", 0))

    def serve():
        while True:
            try:
                client, _ = echo.accept()
            except OSError:
                return
            with client:
                while data := client.recv(100):
                    client.sendall(data)

    thread = threading.Thread(target=serve)
    thread.start()
    with (
        BadLink(echo.getsockname(), random=Random(1), lifetime=(0.3, 0.4), delay=0.0) as link,
        socket.create_connection(("127.0.0.1", link.port), timeout=10) as one,
    ):
        one.sendall(b"hello")
        assert one.recv(100) == b"hello"
        assert one.recv(100) == b""
    echo.shutdown(socket.SHUT_RDWR)
    echo.close()
    thread.join(10)
    assert link.cuts == 1


def test_the_planted_error_is_three_joint_sigmas_of_the_published_ledger():
    made = world.make(np.datetime64("2025-07-01"), 3, np.random.default_rng(5))
    entry = next(e for e in made.published.ledger.entries if e.region == made.planted)
    assert float(made.totals.sel(region=made.planted)) - entry.value == pytest.approx(made.planted_kt)
    assert made.planted_kt == pytest.approx(3 * made.joint_kt)
    hour = solar_hour(made.seen.receptors["time"].values, made.seen.receptors["longitude"].values)
    rows = np.flatnonzero((hour >= 10) & (hour < 18))
    n = rows.size
    design = crosscheck.Design(
        H=made.seen.H[rows],
        R=np.eye(n) * world.MODEL_SIGMA**2,
        B=made.published.B,
        H_b=made.seen.H_b[rows],
        B_b=np.eye(made.seen.H_b.shape[1]) * world.BASELINE_SIGMA**2,
    )
    sigma = [0.1 * world.LEDGER_KT[str(code)] for code in made.published.W["region"].values]
    joint = crosscheck.joint_sigma(design, made.published.W, sigma)["joint_sigma"].sel(region=made.planted)
    assert made.joint_kt == pytest.approx(float(joint), rel=0.01)


def test_the_catalogue_names_every_port():
    ports = [p["inlet"] for s in catalogue()["station"] for i in s["instrument"] for p in i["port"]]
    inlets = [i["name"] for s in catalogue()["station"] for i in s["inlet"]]
    assert ports == inlets
    assert len(catalogue()["station"]) == 8


def test_the_demos_footprints_are_those_of_many_particles_and_near_the_plumes():
    """Few particles, smoothed, keep what many say; the closed form beside them, where air is mixed by day."""
    rng = np.random.default_rng(4)
    place = world.domain(np.datetime64("2025-07-01"), 2, rng)
    site = SITES[3]
    hours = place.start + (np.arange(3, 8) * 3600 + 86_400 + 1800) * np.timedelta64(10**9, "ns")
    receptors = xr.Dataset(
        {"time": ("receptor", hours)}
        | {name: ("receptor", np.full(5, at)) for name, at in
           (("longitude", site.longitude), ("latitude", site.latitude), ("height", 120.0))}
    )  # fmt: skip
    few = weather.footprints(receptors, place.grid).sum(axis=(1, 2))
    seconds = hours.astype("datetime64[s]").astype(int)
    corners = [(float(place.grid[name][0]), float(place.grid[name][-1])) for name in ("longitude", "latitude")]
    met = weather.fields(weather.Window(int(seconds.min()), int(seconds.max()), *corners))
    options = {"hours_back": weather.HOURS_BACK, "seed": 9}
    many = particles.footprints(receptors, met, place.grid, particles=1500, **options)["srr"].sum(
        ("latitude", "longitude")
    )
    np.testing.assert_allclose(few.mean(), many.mean(), rtol=0.1)
    # The plume goes along one wind and one height of the layer, those of the site in the middle of the way.
    x, y = np.abs(met.x - site.longitude).argmin(), np.abs(met.y - site.latitude).argmin()
    mixed = met.level < 1000.0
    air = {
        "u": met.u[:, mixed, y, x].mean(axis=1), "v": met.v[:, mixed, y, x].mean(axis=1), "blh": met.layer[:, y, x],
        "rho": met.rho[:, mixed, y, x].mean(axis=1), "sigma_v": 2.0 * met.ustar[:, y, x],
        "sigma_w": 1.3 * met.ustar[:, y, x] + 0.4 * met.wstar[:, y, x],
    }  # fmt: skip
    local = xr.Dataset(
        {name: ("time", values.astype(float)) for name, values in air.items()},
        {"time": (met.time * 1e9).astype("datetime64[ns]")},
    )
    plume = transport.footprints(receptors, local, place.grid, hours=weather.HOURS_BACK)["srr"].sum(
        ("latitude", "longitude")
    )
    np.testing.assert_allclose(plume.mean(), many.mean(), rtol=0.15)
