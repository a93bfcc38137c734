"""Picture of pre-training: every loss term over the steps."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mscl.display.style import INK, SERIES, canvas, to_svg

LOSS_NAMES = {
    "rgb": "1  RGB to RGB",
    "flow": "2  flow to flow",
    "rotated": "3  rotated to rotated",
    "rgb_to_flow": "4  RGB to flow",
    "flow_to_rgb": "5  flow to RGB",
    "rgb_to_rotated": "6  RGB to rotated",
    "rotated_to_rgb": "7  rotated to RGB",
    "local_motion": "8  local motion (LMCL)",
}
"""Terms of METHOD 1.6, as they are called in metrics.jsonl."""

_MAX_POINTS = 400


def loss_curves(rows: Sequence[Mapping[str, Any]], *, chance: Callable[[str], float] | None = None) -> str:
    """Small multiples of the loss terms over the steps: raw values faint, a running mean strong.

    Args:
        rows: what metrics.jsonl holds, one mapping per logged step.
        chance: what guessing gives a term, in nats; drawn as a line.
    """
    from matplotlib.ticker import MaxNLocator

    terms = [name for name in LOSS_NAMES if any(_number(row.get(name)) for row in rows)]
    if not terms:
        terms = ["loss"]
    lines = math.ceil(len(terms) / 2)
    with canvas(1.25 * lines + 0.35) as figure:
        axes = figure.subplots(lines, 2 if len(terms) > 1 else 1, sharex=True, squeeze=False)
        for place, (axis, term) in enumerate(zip(axes.flat, terms, strict=False)):
            points = [(float(row["step"]), float(row[term])) for row in rows if _number(row.get(term))]
            steps, values = zip(*_thinned(points), strict=True)
            colour = SERIES[place % len(SERIES)]
            axis.plot(steps, values, color=colour, linewidth=0.8, alpha=0.35)
            axis.plot(steps, _running_mean(values), color=colour)
            if chance is not None and term in LOSS_NAMES:
                axis.axhline(chance(term), color=INK, linewidth=0.9, linestyle=(0, (4, 3)), alpha=0.7)
            axis.set_title(LOSS_NAMES.get(term, term))
            axis.set_ylim(bottom=0)
            axis.margins(x=0.01)
            axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        for axis in list(axes.flat)[len(terms) :]:
            axis.set_visible(False)
        figure.supxlabel("step" + (" (dashed: chance)" if chance else ""), fontsize=9)
        return to_svg(figure)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `_MAX_POINTS` points, each the mean of its neighbours."""
    size = max(1, math.ceil(len(points) / _MAX_POINTS))
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(p[0] for p in group) / len(group), sum(p[1] for p in group) / len(group)) for group in groups]


def _running_mean(values: Sequence[float]) -> list[float]:
    half = max(1, len(values) // 40)
    windows = [values[max(0, place - half) : place + half + 1] for place in range(len(values))]
    return [sum(window) / len(window) for window in windows]
