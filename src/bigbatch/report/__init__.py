"""What a set of runs proves, from their records alone: groups, points, verdicts, figures and one page."""

from typing import Final

PAGE: Final = "index.html"
AUTO, CURVES, SIZES = "auto", "curves", "sizes"  # kinds of a figure that stands alone
KINDS: Final = (CURVES, SIZES)
