"""One look for all pictures, and SVG that follows the reader's light or dark theme.

Text, axes and grids are drawn in `INK`, a colour that no picture uses otherwise. On the page it becomes the
CSS `currentColor`; in Markdown, where a picture stands alone, it becomes dark grey on a white card. The colours
of the data have middling lightness, so that they read on both grounds.
"""

import base64
import io
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#010203"
BLUE, ORANGE, GREEN, RED = "#3f83c9", "#dd7a33", "#35986a", "#cf4b5c"
PURPLE, TEAL, OCHRE, GREY = "#8d68cf", "#1f9aa6", "#b8922a", "#8b919b"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, TEAL, RED, OCHRE, GREY)

WIDTH_IN = 4.8
"""Width of every chart. A phone shows it at its size, a desktop column at 1.5: text of 6 to 13 px there."""

_CARD_SCALE = 1.6
"""px per point of a picture that stands alone: text of 14 px, as around it."""

_RC: dict[str, Any] = {
    "font.size": 9.5,
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "grid.color": INK,
    "grid.alpha": 0.13,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "lines.linewidth": 1.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "text.parse_math": False,  # `a$b$c` is the name of a class, and no formula
    "svg.hashsalt": "mscl",
}


_DRAWING = threading.RLock()
"""matplotlib's settings are the process's: one thread draws at a time."""


@contextmanager
def canvas(height_in: float, *, width_in: float = WIDTH_IN) -> Iterator["Figure"]:
    """An empty figure in the house style; leaves matplotlib's own state as it was."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    settings: dict[Any, Any] = _RC
    with _DRAWING, mpl.rc_context(settings):
        yield Figure(figsize=(width_in, height_in), layout="constrained")


def to_svg(figure: "Figure") -> str:
    """The figure as one `<svg>` element, text kept as text."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r"'DejaVu Sans'(, [^;\"]*)?", "system-ui, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif", text)
    # matplotlib sets no preserved width for text: a narrower font only leaves air.
    text = re.sub(r'(<svg [^>]*?)width="[^"]*pt" height="[^"]*pt"', r"\1", text, count=1)
    text = re.sub(r'(<svg [^>]*?)height="[^"]*pt"', r"\1", text, count=1)
    text = re.sub(r'(<svg [^>]*?)width="[^"]*pt"', r"\1", text, count=1)
    return re.sub(r"\n\s*", "\n", text)


def for_page(svg: str, *, label: str) -> str:
    """SVG to put into HTML: follows the text colour around it, named for screen readers."""
    from html import escape

    return svg.replace(INK, "currentColor").replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" ', 1)


def for_card(svg: str) -> str:
    """SVG as a data address on a white card, for places that know no theme."""
    return data_address(card_svg(svg).encode(), "image/svg+xml")


def card_svg(svg: str) -> str:
    """SVG on a white card, as a file of its own."""
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    if size is None:
        raise ValueError("the SVG has no viewBox; draw it with to_svg")
    width, height = float(size[1]), float(size[2])
    ground = '<rect width="100%" height="100%" fill="#ffffff"/>'
    size_px = f'width="{_CARD_SCALE * width:.0f}" height="{_CARD_SCALE * height:.0f}"'
    text = svg.replace(INK, "#24292f").replace("<svg ", f"<svg {size_px} ", 1)
    head = text.index(">") + 1
    return f"{text[:head]}{ground}{text[head:]}"


def data_address(content: bytes, kind: str) -> str:
    """`data:` address of bytes of a media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
