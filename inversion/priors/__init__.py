"""What others know beforehand: fluxes of biosphere, fire, ocean and fossil fuel; mole fractions in three dimensions.

Fluxes come out in mol m-2 s-1 on the grid of the footprints, mass conserved (`read_flux`, `read_gfed`); mole fractions
dry in mol mol-1, with heights above ground (`read_field`). Units are read from the file; what is not known is refused.
"""

from inversion.priors.field import read_field, sample
from inversion.priors.flux import read_flux
from inversion.priors.gfed import read_gfed
from inversion.priors.regrid import conservative

__all__ = ["conservative", "read_field", "read_flux", "read_gfed", "sample"]
