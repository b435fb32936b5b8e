"""A figure that is drawn once and written twice: as SVG with the page's colours, light or dark, and as PNG."""

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bigbatch.figures import COLOURS, DPI, INK, PAPER, RULE, SOFT, figure_style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Draw = Callable[["Figure"], None]

VARIABLES: Final = {
    **{colour.lower(): f"var(--series-{i})" for i, colour in enumerate(COLOURS, 1)},
    INK: "var(--ink)",
    SOFT: "var(--soft)",
    RULE: "var(--rule)",
}
COLOURED: Final = re.compile(r"\b(fill|stroke): (#[0-9a-f]{6})")
IDENTIFIED: Final = re.compile(r'(\bid="|href="#|url\(#)')
SIZED: Final = re.compile(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>')
NOT_OF_A_PAGE: Final = re.compile(r"<metadata>.*?</metadata>|<style.*?</style>", re.DOTALL)


@dataclass(frozen=True)
class Drawing:
    """A figure as SVG to stand within HTML, and as PNG on white."""

    svg: str
    png: bytes


def render(draw: Draw, *, prefix: str) -> Drawing:
    """Draw a figure once and write it twice.

    Args:
        draw: draws on an empty figure.
        prefix: makes the SVG's ids unique within the page.

    Raises:
        InputError: matplotlib is not installed.
    """
    with figure_style():
        from matplotlib.figure import Figure

        figure = Figure(layout="constrained")
        draw(figure)
        svg, png = io.StringIO(), io.BytesIO()
        figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None})
        figure.set_layout_engine("none")  # it is laid out already; doing it again would take half of the time
        figure.savefig(png, format="png", dpi=DPI, facecolor=PAPER, metadata={"Software": None})
    return Drawing(for_a_page(svg.getvalue(), prefix), png.getvalue())


def for_a_page(svg: str, prefix: str) -> str:
    """Return an SVG file as an element of a page, with unique ids, the page's colours, and no styles of its own."""
    element = NOT_OF_A_PAGE.sub("", svg[svg.index("<svg") :])
    element = SIZED.sub(r'<svg viewBox="\1" aria-hidden="true" focusable="false">', element, count=1)
    element = IDENTIFIED.sub(rf"\g<1>{prefix}-", element).replace("xlink:href", "href")
    return COLOURED.sub(lambda match: f"{match[1]}: {VARIABLES.get(match[2], match[2])}", element).strip()
