"""What a set of runs proves, from their records alone: read, grouped, judged, drawn, and put on one page."""

from typing import Final

PAGE: Final = "index.html"
AUTO, CURVES, SIZES = "auto", "curves", "sizes"  # kinds of a figure that stands alone
KINDS: Final = (CURVES, SIZES)
