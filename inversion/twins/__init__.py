"""Twin experiments and the design of networks: what an inversion is worth, before there is a single observation.

`run` draws truths from a `Nature`, observes them and inverts them with one factorisation; `perturbed` makes weather
with errors for a nature whose transport is not that of the inversion; `judge` says in sentences what came out. `design`
asks what one more station would add.
"""

from inversion.twins.design import DOFS, Candidate, design, design_lines, judge_design, places, survey
from inversion.twins.experiment import run
from inversion.twins.nature import Nature, TwinError
from inversion.twins.planned import part, planned
from inversion.twins.replay import replay
from inversion.twins.scaled import scaled_nature
from inversion.twins.verdict import judge, lines, read_findings
from inversion.twins.weather import WeatherError, perturbed

__all__ = [
    "DOFS",
    "Candidate",
    "Nature",
    "TwinError",
    "WeatherError",
    "design",
    "design_lines",
    "judge",
    "judge_design",
    "lines",
    "part",
    "perturbed",
    "places",
    "planned",
    "read_findings",
    "replay",
    "run",
    "scaled_nature",
    "survey",
]
