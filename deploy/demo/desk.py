"""What people do at a network: cylinders put into the configuration, a visit noted, hours flagged by hand."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import paho.mqtt.client as mqtt

from deploy.demo.network import INSTRUMENT, SITES, Trouble
from deploy.errors import DeployError
from deploy.jobs.network import network_configuration
from deploy.local.stack import Stack
from ingest import ledger, status
from ingest.database import connect
from ingest.preview import refresh
from station_agent import wire

VISIT: Final = "maintenance"
_VISITED: Final = next(site for site in SITES if site.trouble is Trouble.SPIKES)
_PATIENCE: Final = 30.0
_CALIBRATION: Final[dict[str, dict[str, float]]] = {
    "co2": {"stdev_minute": 0.1, "stdev_injection": 0.08, "stdev_cycle": 0.06, "repeatability": 0.02, "drift": 0.02},
    "ch4": {"stdev_minute": 1.0, "stdev_injection": 0.8, "stdev_cycle": 0.6, "repeatability": 0.2, "drift": 0.2},
}
_FLUSH: Final = 180


def configuration() -> list[dict[str, Any]]:
    """Return the quality control of the network: skyledger's own, and the cylinders of stations that have some."""
    every = network_configuration()
    model = next(series for series in every if "G2301" in str(series.get("model")))
    return [*(_calibrated(model, site.name) for site in SITES if site.tanks), *every]


def _calibrated(series: Mapping[str, Any], station: str) -> dict[str, Any]:
    tanks = next(site.tanks for site in SITES if site.name == station)
    hung = {
        kind: [{"port": tank.port, "cylinder": tank.name} for tank in tanks if tank.target is target]
        for kind, target in (("standard", False), ("target", True))
    }
    species = {
        gas: {**settings, "calibration": {"degree": 1, **_CALIBRATION[gas]}}
        for gas, settings in series["species"].items()
    }
    return {**series, "station": station, "species": species, "calibration": {"flush_seconds": _FLUSH, **hung}}


def visit(stack: Stack, start: datetime) -> None:
    """Note a visit to a station as an event, the way a station's own programs do, and flag its hours by hand.

    Raises
    ------
    DeployError
        The event does not arrive.
    """
    arrived, left = start + timedelta(hours=26), start + timedelta(hours=28)
    detail = {"who": "Li Hua", "what": "inlet filter changed"}
    t = int(arrived.timestamp() * 1e9)
    payload = wire.encode_event(VISIT, spool="logbook", seq=1, time_ns=t, detail=detail)
    before = status.counts(stack.dsn).messages
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.connect(stack.host, stack.port)
    client.loop_start()
    try:
        topic = wire.instrument_topic(_VISITED.name, INSTRUMENT, wire.Kind.EVENT)
        client.publish(topic, payload, qos=1).wait_for_publish(_PATIENCE)
    finally:
        client.disconnect()
        client.loop_stop()
    deadline = time.monotonic() + _PATIENCE
    while status.counts(stack.dsn).messages <= before:
        if time.monotonic() > deadline:
            msg = f"the event {VISIT!r} has not arrived within {_PATIENCE:.0f} s"
            raise DeployError(msg)
        time.sleep(0.1)
    ledger.add(
        stack.dsn,
        ledger.Decision(
            station=_VISITED.name,
            start=arrived,
            end=left,
            flag="bad",
            author="Li Hua",
            reason="somebody was at the mast: the inlet filter was changed",
        ),
    )


def rolled(dsn: str) -> None:
    """Bring the previews for screens up to what is stored."""
    with connect(dsn) as conn:
        refresh(conn)


def moment(start: Any) -> datetime:
    """Return a numpy time as an aware one."""
    return datetime.fromisoformat(str(start.astype("datetime64[s]"))).replace(tzinfo=UTC)
