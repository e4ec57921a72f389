"""OBS written as the world's archives want it: ObsPack-style netCDF, ICOS-style text, WDCGG text.

What `ingest.files.read` reads of such a file is what was written: values, standard deviations, counts, uncertainties,
flags, selection, intervals, scale and place, to the last bit. What a text format has no column for is not written; each
function says what. Nothing is written where a dataset does not fit the format: the error says why.
"""

from ingest.export.icos import icos
from ingest.export.obspack import obspack
from ingest.export.wdcgg import wdcgg

__all__ = ["icos", "obspack", "wdcgg"]
