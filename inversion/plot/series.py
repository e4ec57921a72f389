"""A site's mole fractions as a posterior sees them."""

from __future__ import annotations

from matplotlib.figure import Figure

from inversion.posterior import Posterior
from inversion.report.figures import draw_series, station_series


def series(posterior: Posterior, site: str | None = None, *, gas: str = "") -> Figure:
    """Return one site's series: observed, prior, posterior and background, and the residuals below.

    Parameters
    ----------
    posterior : Posterior
        Of observations that say their site and time.
    site : str, optional
        By default the one with most observations.
    gas : str
        As it is to be written.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    inversion.crosscheck.CrosscheckError
        Where sites or times are not said, or there is no such site.
    """
    return draw_series(station_series(posterior.observations, site), gas=gas or "mole fraction")
