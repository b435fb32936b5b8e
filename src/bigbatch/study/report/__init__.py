"""The report of a set of runs: their records are read, grouped and judged, drawn, and put on one page.

Four rooms, in this order: `reading`, `grouping`, `figures`, `page`.
"""

from typing import Final

PAGE: Final = "index.html"
AUTO, CURVES, SIZES = "auto", "curves", "sizes"  # kinds of the figure that --figure writes
KINDS: Final = (CURVES, SIZES)
