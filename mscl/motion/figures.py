"""Pictures of motion: what motion differential sampling saw and chose (METHOD 1.2)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mscl.display.style import BLUE, GREEN, GREY, INK, ORANGE, canvas, to_svg

Floats = npt.NDArray[np.floating]


def motion_curve(
    differences_M: Floats, scores_S: Floats, chosen: Sequence[int], *, frame_step: int = 1, title: str = ""
) -> str:
    """Motion differences d_j of one video, clip scores w_j with their median, and the chosen starts.

    Args:
        differences_M: d_j per field.
        scores_S: w_j per candidate start; fewer than M, since clips may not run past the end.
        chosen: starts that training uses.
        frame_step: source frames per index.
    """
    fields = np.arange(len(differences_M)) * frame_step
    starts = np.arange(len(scores_S)) * frame_step
    picked = np.isin(np.arange(len(scores_S)), np.asarray(chosen, dtype=int))
    with canvas(2.9) as figure:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.15))
        top.fill_between(fields, differences_M, color=BLUE, alpha=0.18, linewidth=0)
        top.plot(fields, differences_M, color=BLUE, linewidth=1.2)
        top.set_ylabel("$d_j$")
        top.set_ylim(bottom=0)
        top.set_title(title)
        if len(scores_S):
            median = float(np.median(scores_S))
            bottom.plot(starts, scores_S, color=GREY, linewidth=0.9)
            size = 16 if len(starts) <= 60 else 6
            bottom.scatter(starts[picked], scores_S[picked], s=size, color=GREEN, label="chosen start", zorder=3)
            bottom.scatter(starts[~picked], scores_S[~picked], s=size, color=ORANGE, label="dropped", zorder=3)
            bottom.axhline(median, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), label="median")
            bottom.legend(
                loc="lower right", bbox_to_anchor=(1, 0.98), ncols=3, columnspacing=1, handletextpad=0.4, borderpad=0
            )
        bottom.set_ylabel("$w_j$")
        bottom.set_ylim(bottom=0)
        bottom.set_xlabel("frame at which the field or clip starts")
        bottom.set_xlim(0, max(1, int(fields[-1]) if len(fields) else 1))
        return to_svg(figure)


def motion_histogram(magnitude_px: Floats, *, threshold_px: float | None = None) -> str:
    """How many segments move how much: 99th percentile of flow magnitude, px of the stored grid.

    Args:
        magnitude_px: one value per segment, the largest over its fields.
        threshold_px: below it a segment counts as still and is screened out.
    """
    from matplotlib.ticker import MaxNLocator

    values = magnitude_px[np.isfinite(magnitude_px)]
    floor = 0.01
    shown = np.maximum(values, floor)
    top = max(1.0, float(shown.max()) * 1.1) if len(shown) else 1.0
    with canvas(2.3) as figure:
        axis = figure.subplots()
        axis.hist(shown, bins=list(np.geomspace(floor, top, 36)), color=BLUE, alpha=0.85)
        axis.set_xscale("log")
        if threshold_px:
            axis.axvline(threshold_px, color=ORANGE, linewidth=1.2, linestyle=(0, (4, 3)))
            axis.annotate(
                f"still below {threshold_px:g} px", (threshold_px, 1), (4, -10), xycoords=("data", "axes fraction"),
                textcoords="offset points", fontsize=8.5,
            )  # fmt: skip
        axis.set_xticks(ticks := [t for t in (0.01, 0.1, 1, 10, 100) if t <= top], [f"{t:g}" for t in ticks])
        axis.set_xlabel("fastest motion of a segment, px per field (99th percentile)")
        axis.set_ylabel("segments")
        axis.yaxis.set_major_locator(MaxNLocator(integer=True))
        return to_svg(figure)
