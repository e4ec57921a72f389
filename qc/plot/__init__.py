"""Figures of quality control: each a function of the datasets given, which returns a matplotlib Figure.

=================  ==========================================================================
`series`           mole fraction over time with its flags, and its standard deviation
`coverage`         what became of each hour, day by day
`flags`            minutes of each day by flag
`uncertainty`      the parts of the standard uncertainty over time
`spikes`           what the SD method and REBS call a spike, above the baseline of REBS
`diurnal`          how the hours of the day differ from their day's mean
`calibration`      corrections by the standards, and what they leave
`target`           how a target was found again, beside the network's goal
`curve`            trend, seasonal cycle, residuals and growth rate of a record
=================  ==========================================================================

They are the figures of the page of a month (`qc.report`), and serve notebooks and scripts as well. The same data give
the same picture; no window is opened, no setting of matplotlib changed, nothing fetched. Colours are Okabe and Ito's,
told apart by all common colour deficiencies; shapes, dashes and hatches differ too.
"""

from qc.plot.canvas import COLOURS, GOAL, PLAIN, WORDS
from qc.plot.cylinders import calibration, target
from qc.plot.means import coverage, flags, series, uncertainty
from qc.plot.minutes import diurnal, spikes
from qc.plot.record import curve

__all__ = [
    "COLOURS",
    "GOAL",
    "PLAIN",
    "WORDS",
    "calibration",
    "coverage",
    "curve",
    "diurnal",
    "flags",
    "series",
    "spikes",
    "target",
    "uncertainty",
]
