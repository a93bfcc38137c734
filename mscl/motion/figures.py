"""Pictures of motion: what motion differential sampling saw and chose (METHOD 1.2)."""

from collections.abc import Mapping, Sequence

import numpy as np

from mscl.array_types import AnyFloats
from mscl.display.style import BLUE, GREEN, GREY, INK, ORANGE, canvas, to_svg


def motion_curve(
    differences_M: AnyFloats,
    scores_S: AnyFloats,
    chosen: Sequence[int],
    *,
    median: float | None = None,
    frame_step: int = 1,
    title: str = "",
) -> str:
    """Motion differences d_j of one video, clip scores w_j, and the chosen starts.

    Args:
        differences_M: d_j per field.
        scores_S: w_j per candidate start; fewer than M, since clips may not run past the end.
        chosen: starts that training uses.
        median: above which they score; None: they were not chosen by it.
        frame_step: source frames per index.
    """
    fields = np.arange(len(differences_M)) * frame_step
    starts = np.arange(len(scores_S)) * frame_step
    picked = np.isin(np.arange(len(scores_S)), np.asarray(chosen, dtype=int))
    with canvas(2.9) as figure:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.15))
        top.fill_between(fields, differences_M, color=BLUE, alpha=0.18, linewidth=0)
        top.plot(fields, differences_M, color=BLUE, linewidth=1.2)
        top.set_ylabel("$d_j$", parse_math=True)
        top.set_ylim(bottom=0)
        top.set_title(title)
        if len(scores_S):
            bottom.plot(starts, scores_S, color=GREY, linewidth=0.9)
            size = 16 if len(starts) <= 60 else 6
            bottom.scatter(starts[picked], scores_S[picked], s=size, color=GREEN, label="chosen start", zorder=3)
            bottom.scatter(starts[~picked], scores_S[~picked], s=size, color=ORANGE, label="dropped", zorder=3)
            if median is not None:
                bottom.axhline(median, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), label="median")
            bottom.legend(
                loc="lower right", bbox_to_anchor=(1, 0.98), ncols=3, columnspacing=1, handletextpad=0.4, borderpad=0
            )
        bottom.set_ylabel("$w_j$", parse_math=True)
        bottom.set_ylim(bottom=0)
        bottom.set_xlabel("frame at which the field or clip starts")
        bottom.set_xlim(0, max(1, int(fields[-1]) if len(fields) else 1))
        return to_svg(figure)


LABELS = {
    "mean_px": "mean motion, px", "peak_px": "strongest motion, px", "moving": "share of moving pixels",
    "change": "change of motion", "camera_px": "the camera's motion, px", "object_px": "motion without it, px",
}  # fmt: skip
_FLOOR_PX = 0.01


def score_histograms(scores: Mapping[str, AnyFloats], limits: Mapping[str, Sequence[tuple[str, float]]]) -> str:
    """How many segments have which motion scores, with what the screen asks of them.

    Args:
        scores: score -> one value a segment, not finite where it is not known; px are shown on a logarithmic axis, from
            .01 px.
        limits: score -> (word, value) of each threshold, "min" or "max".
    """
    from matplotlib.ticker import MaxNLocator

    with canvas(5.4) as figure:
        figure.set_layout_engine("none")  # to find the same margins for six axes takes a second
        places = {"left": 0.115, "right": 0.98, "bottom": 0.05, "top": 0.95, "hspace": 0.5, "wspace": 0.28}
        for axis, (name, values_S) in zip(figure.subplots(3, 2, gridspec_kw=places).flat, scores.items(), strict=True):
            found = values_S[np.isfinite(values_S)]
            bounds = limits.get(name, ())
            top = max([1.05 * float(found.max(initial=0.0)), *(1.05 * value for _, value in bounds), _FLOOR_PX * 10])
            if name.endswith("_px"):
                axis.set_xscale("log")
                bins = np.geomspace(_FLOOR_PX, top, 28)
                ticks = [t for t in (_FLOOR_PX, 0.1, 1, 10, 100) if t <= top]
                names = [f"{t:g}" for t in ticks]
                if (found < _FLOOR_PX).any():  # the first bar holds them, too
                    names[0] = f"≤ {names[0]}"
                axis.set_xticks(ticks, names)
                axis.minorticks_off()
            else:
                bins = np.linspace(0, 1 if name == "moving" else top, 28)
            counts, edges = np.histogram(np.clip(found, bins[0], bins[-1]), bins)
            axis.stairs(counts, edges, fill=True, color=BLUE, alpha=0.85)
            axis.set_ylim(bottom=0)
            axis.yaxis.set_major_locator(MaxNLocator(3, integer=True))
            axis.set_ylim(top=axis.get_ylim()[1] * (1 + 0.18 * len(bounds)))  # room for what the lines are called
            axis.set_title(LABELS[name] if len(found) else f"{LABELS[name]}: not measured")
            for line, (word, value) in enumerate(bounds):
                axis.axvline(max(value, bins[0]), color=ORANGE, linewidth=1.2, linestyle=(0, (4, 3)))
                left = word == "max"
                axis.annotate(
                    f"{word} {value:g}", (max(value, bins[0]), 1), (-4 if left else 4, -9 - 10 * line), fontsize=8,
                    xycoords=("data", "axes fraction"), textcoords="offset points", ha="right" if left else "left",
                )  # fmt: skip
        figure.supylabel("segments", x=0.01, fontsize=9)
        return to_svg(figure)
