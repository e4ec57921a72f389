"""Made-up weather over eastern China: winds that turn as highs and lows pass, a boundary layer that follows the sun."""

from __future__ import annotations

import numpy as np
import xarray as xr

from deploy.demo.network import Site

LEAD_HOURS = 48
"""Weather begins this long before the first receptor: its air has a past."""
PASSAGE_HOURS = 83.0
"""A high and a low pass within this time."""
SIGMA_W_SHARE = 0.6


def weather(sites: tuple[Site, ...], start: np.datetime64, hours: int) -> xr.Dataset:
    """Return the meteorology at the stations, hour by hour.

    Parameters
    ----------
    sites
        The stations; the weather reaches the eastern ones later.
    start, hours
        The window of the receptors.

    Returns
    -------
    xr.Dataset
        ``u``, ``v``, ``sigma_v``, ``sigma_w`` [m s-1], ``blh`` [m], ``rho`` [kg m-3] on (time, site).
    """
    first = start.astype("datetime64[ns]") - np.timedelta64(LEAD_HOURS, "h")
    time = first + np.arange(LEAD_HOURS + hours + 1) * np.timedelta64(3600 * 10**9, "ns")
    hour = np.arange(time.size)[:, None] - 1.3 * (np.array([s.longitude for s in sites]) - 110.0)
    phase = 2 * np.pi * hour / PASSAGE_HOURS
    latitude = np.array([s.latitude for s in sites])
    direction = phase + 0.9 * np.sin(0.37 * phase) + 0.05 * (latitude - 34.0)
    speed = 4.5 + 1.8 * np.sin(1.7 * phase) + 0.9 * np.cos(0.61 * phase + 0.2 * latitude)
    utc = (time - time.astype("datetime64[D]")) / np.timedelta64(1, "h")
    solar = utc[:, None] + np.array([s.longitude for s in sites]) / 15.0
    sun = np.cos(2 * np.pi * (solar - 14.0) / 24.0)
    blh = 250.0 + 1250.0 * np.clip(sun, 0.0, None) ** 1.5
    turbulence = 0.25 + 0.75 * np.clip(sun, 0.0, None)
    fields = {
        "u": (-speed * np.sin(direction), "m s-1"),
        "v": (-speed * np.cos(direction), "m s-1"),
        "blh": (blh, "m"),
        "rho": (np.full(blh.shape, 1.18), "kg m-3"),
        "sigma_v": (turbulence, "m s-1"),
        "sigma_w": (SIGMA_W_SHARE * turbulence, "m s-1"),
    }
    return xr.Dataset(
        {name: (("time", "site"), values, {"units": units}) for name, (values, units) in fields.items()},
        coords={"time": time, "site": [s.name for s in sites]},
        attrs={"source": "made up, deploy.demo.weather"},
    )
