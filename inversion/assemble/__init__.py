"""Assembling an inverse problem from observations, footprints, fluxes and backgrounds.

`Stream`, `match`                    observations of one gas and kind, each with its footprint and error
`Sector`                             fluxes in time, whose scalings are the unknowns
`basis`                              cells, provinces, masks, quadtree: regions that share one scaling
`Block`                              sectors x periods x regions, B = sector ⊗ time ⊗ space
`Baseline`, `Curtain`, `Endpoints`   backgrounds: knots, the domain's sides, fields where the air came from
`paris`                              the result in the names of PARIS
`by_period`, `by_sector`             aggregates of regions by period or sector, for trends, warning, attribution
`assemble`                           all of it into a `Problem`, sparse or Dask where large
"""

from inversion.assemble import basis, paris
from inversion.assemble.background import Background, Baseline, Boundary, Curtain, Endpoints
from inversion.assemble.basis import Basis
from inversion.assemble.block import Block
from inversion.assemble.division import by_period, by_sector
from inversion.assemble.matching import Matched, match, open_footprints
from inversion.assemble.observed import ErrorModel, Stream, from_columns, from_track
from inversion.assemble.problem import Assembled, assemble
from inversion.assemble.sector import Sector
from inversion.assemble.sensitivity import form_of, information, jacobian

__all__ = [
    "Assembled",
    "Background",
    "Baseline",
    "Basis",
    "Block",
    "Boundary",
    "Curtain",
    "Endpoints",
    "ErrorModel",
    "Matched",
    "Sector",
    "Stream",
    "assemble",
    "basis",
    "by_period",
    "by_sector",
    "form_of",
    "from_columns",
    "from_track",
    "information",
    "jacobian",
    "match",
    "open_footprints",
    "paris",
]
