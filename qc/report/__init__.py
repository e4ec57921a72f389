"""What quality control did in a month, as a page to read and to print.

`page.render` puts the figures of `qc.plot`, with tables beside them, on one page that needs nothing else. Everything is
a function of the datasets given.
"""

from qc.report.page import Cylinders, Note, Series, render

__all__ = ["Cylinders", "Note", "Series", "render"]
