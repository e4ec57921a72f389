"""Figures for notebooks and papers; each function returns a matplotlib Figure and changes no setting.

Colours are told apart by all common colour deficiencies, every axis says its unit, maps choose their projection by the
region and take land and borders from packages: nothing is fetched.

`flux`, `difference`, `uncertainty_reduction`   maps of fields
`network`, `steps`                              what stations that might be built would add
`innovations`, `taylor`, `series`               observations beside what was modelled
`totals`, `kernel`, `coverage`                  regions: values, what was seen, whether the σ hold
`verdicts`                                      the map of a cross-check
`footprint`                                     a module of its own: footprints on the map, in sections, compared
"""

from inversion.maps import draw as verdicts
from inversion.plot import footprint
from inversion.plot.ground import PlotError
from inversion.plot.maps import difference, flux, network, uncertainty_reduction
from inversion.plot.series import series
from inversion.plot.statistics import coverage, innovations, kernel, steps, taylor, totals

__all__ = [
    "PlotError",
    "coverage",
    "difference",
    "flux",
    "footprint",
    "innovations",
    "kernel",
    "network",
    "series",
    "steps",
    "taylor",
    "totals",
    "uncertainty_reduction",
    "verdicts",
]
