"""The datasets of the inversion, written down as data: FOOTPRINT, FLUX, POSTERIOR, CONCENTRATION.

FLUX and CONCENTRATION are the mandatory part of the PARIS templates for fluxes (v03) and concentrations (v04), with
regions below the country allowed where those say ``country``. `qc.schema.require` checks against them.
"""

from __future__ import annotations

from typing import Final

from qc.schema import Schema, Variable

SRR_UNITS: Final = "(mol/mol)/(mol/m2/s)"
"""Units of a footprint, as PARIS writes them."""
FLUX_UNITS: Final = "mol m-2 s-1"

_LATITUDE: Final = Variable(
    "latitude", ("latitude",), "f", ("degrees_north",), "latitude", increasing=True, long_name="centre of grid cell"
)
_LONGITUDE: Final = Variable(
    "longitude", ("longitude",), "f", ("degrees_east",), "longitude", increasing=True, long_name="centre of grid cell"
)
_RECEPTOR: Final = ("receptor",)

FOOTPRINT: Final = Schema(
    name="FOOTPRINT",
    variables=(
        Variable(
            "srr",
            ("receptor", "latitude", "longitude"),
            "f",
            (SRR_UNITS,),
            long_name="mole fraction at the receptor for a unit flux from the whole cell",
        ),
        _LATITUDE,
        _LONGITUDE,
        Variable("time", _RECEPTOR, "M", standard_name="time", long_name="time (UTC), middle of the interval"),
        Variable("release_lon", _RECEPTOR, "f", ("degrees_east",), long_name="longitude of the receptor"),
        Variable("release_lat", _RECEPTOR, "f", ("degrees_north",), long_name="latitude of the receptor"),
        Variable("release_height", _RECEPTOR, "f", ("m",), required=False, long_name="height above ground"),
        Variable("time_bnds", ("receptor", "bnds"), "M", required=False, long_name="interval the footprint stands for"),
        Variable("site", _RECEPTOR, "OUT", required=False, long_name="station"),
        Variable(
            "fraction_outside",
            _RECEPTOR,
            "f",
            ("1",),
            required=False,
            long_name="share of the air that left the domain",
        ),
        Variable(
            "srr_time_resolved",
            ("receptor", "hours_back", "latitude", "longitude"),
            "f",
            (SRR_UNITS,),
            required=False,
            long_name="srr by the time the flux entered the air",
        ),
        Variable(
            "hours_back",
            ("hours_back",),
            "iuf",
            ("h",),
            required=False,
            increasing=True,
            long_name="beginning of the step, counted back from the receptor's time",
        ),
        Variable(
            "exit_share",
            ("receptor", "side", "exit_height"),
            "f",
            ("1",),
            required=False,
            long_name="share of the air that came in through a side of the domain, by height",
        ),
        Variable(
            "exit_age",
            ("receptor", "side", "exit_height"),
            "f",
            ("h",),
            required=False,
            long_name="how long before the receptor's time it came in there, mean",
        ),
    ),
    attributes={"source": "text"},
)
"""Footprints of receptors over a grid; the contribution of a flux field is Σ srr x flux over the cells."""

_TIME: Final = Variable(
    "time", ("time",), "M", standard_name="time", increasing=True, long_name="middle of the interval"
)
_FIELD: Final = ("time", "latitude", "longitude")

FLUX: Final = Schema(
    name="FLUX",
    variables=(
        _LATITUDE,
        _LONGITUDE,
        _TIME,
        Variable("time_bnds", ("time", "nbnds"), "M", long_name="interval of the flux"),
        Variable("flux_total_prior", _FIELD, "f", (FLUX_UNITS,), long_name="prior flux"),
        Variable("flux_total_posterior", _FIELD, "f", (FLUX_UNITS,), required=False, long_name="posterior flux"),
        Variable(
            "stdev_flux_total_prior", _FIELD, "f", (FLUX_UNITS,), required=False, long_name="its standard deviation"
        ),
        Variable(
            "stdev_flux_total_posterior", _FIELD, "f", (FLUX_UNITS,), required=False, long_name="its standard deviation"
        ),
        Variable("country", ("country",), "OUT", required=False, long_name="ISO 3166-1 alpha-3 or ISO 3166-2 code"),
        Variable(
            "country_fraction",
            ("country", "latitude", "longitude"),
            "f",
            ("1",),
            "area_fraction",
            required=False,
            long_name="fraction of grid cell in the region",
        ),
        Variable("cell_area", ("latitude", "longitude"), "f", ("m2",), "cell_area", required=False, long_name="area"),
        Variable("flux_total_prior_country", ("country", "time"), "f", ("kg yr-1",), required=False),
        Variable("flux_total_posterior_country", ("country", "time"), "f", ("kg yr-1",), required=False),
        Variable("stdev_flux_total_prior_country", ("country", "time"), "f", ("kg yr-1",), required=False),
        Variable("stdev_flux_total_posterior_country", ("country", "time"), "f", ("kg yr-1",), required=False),
        Variable(
            "covariance_flux_total_posterior_country",
            ("country", "country_2", "time"),
            "f",
            ("kg2 yr-2",),
            required=False,
            long_name="covariance of regional totals, from the whole posterior covariance",
        ),
    ),
)
"""Flux fields and regional totals (PARIS flux template v03)."""

_STATE: Final = ("state",)
_BOUNDARY: Final = ("boundary",)
_OBS: Final = ("obs",)

POSTERIOR: Final = Schema(
    name="POSTERIOR",
    variables=(
        Variable("state_prior", _STATE, long_name="x_a"),
        Variable("state_posterior", _STATE, long_name="x_hat"),
        Variable("stdev_state_prior", _STATE, long_name="square root of the diagonal of B"),
        Variable("stdev_state_posterior", _STATE, long_name="square root of the diagonal of S_hat"),
        Variable("state_seen", _STATE, units=("1",), long_name="1 minus posterior over prior variance"),
        Variable("boundary_prior", _BOUNDARY, required=False, long_name="b_a"),
        Variable("boundary_posterior", _BOUNDARY, required=False, long_name="b_hat"),
        Variable("stdev_boundary_prior", _BOUNDARY, required=False),
        Variable("stdev_boundary_posterior", _BOUNDARY, required=False),
        Variable("mf_observed", _OBS, attributes=("units",), long_name="y"),
        Variable("mf_prior", _OBS, attributes=("units",), long_name="H x_a + H_b b_a"),
        Variable("mf_posterior", _OBS, attributes=("units",), long_name="H x_hat + H_b b_hat"),
        Variable("mf_bc_prior", _OBS, attributes=("units",), long_name="H_b b_a"),
        Variable("mf_bc_posterior", _OBS, attributes=("units",), long_name="H_b b_hat"),
        Variable("stdev_mf_total", _OBS, attributes=("units",), long_name="square root of the diagonal of R"),
        Variable("finding", ("findings",), "OUT", long_name="what the result says about itself, the worst first"),
    ),
    attributes={
        "title": "text",
        "form": "text",
        "skyledger_version": "text",
        "provenance": "text",
        **dict.fromkeys(("n_obs", "n_state", "n_boundary", "chi2", "J_a", "J_o", "dofs"), "number"),
    },
)
"""A solved problem, as `Posterior.to_dataset` gives it."""

_INDEX: Final = ("index",)
_MF: Final = ("mol mol-1",)

CONCENTRATION: Final = Schema(
    name="CONCENTRATION",
    variables=(
        Variable("time", _INDEX, "M", standard_name="time", long_name="middle of the interval"),
        Variable("time_bnds", ("index", "nbnds"), "M", long_name="the interval"),
        Variable("longitude", _INDEX, "f", ("degrees_east",), "longitude"),
        Variable("latitude", _INDEX, "f", ("degrees_north",), "latitude"),
        Variable("altitude", _INDEX, "f", ("m",), "altitude"),
        Variable("platform", ("platform",), "OUT", long_name="stations"),
        Variable("number_of_identifier", _INDEX, "iuf", ("1",), long_name="index of the platform"),
        Variable("mf_observed", _INDEX, "f", _MF),
        Variable("stdev_mf_total", _INDEX, "f", _MF),
        Variable("mf_prior", _INDEX, "f", _MF),
        Variable("mf_posterior", _INDEX, "f", _MF),
        Variable("mf_bc_prior", _INDEX, "f", _MF),
        Variable("mf_bc_posterior", _INDEX, "f", _MF),
    ),
)
"""Observed and simulated mole fractions (PARIS concentration template v04)."""
