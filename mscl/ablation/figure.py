"""The picture of an ablation: every seed a dot, every mean a line, controls and chance behind them."""

from collections.abc import Mapping, Sequence

from mscl.ablation.rows import METRIC_TITLES, STILL_SUFFIXES, SeedScore, presets_of, score
from mscl.display.style import BLUE, GREY, INK, ORANGE, canvas, to_svg


def dot_plot(rows: Sequence[SeedScore], *, chance: Mapping[str, float], reference: str) -> str:
    """SVG with one panel per metric, presets below each other.

    Filled dots are moving clips, hollow ones the same encoder on single frames of the videos, where nothing moves.
    """
    presets = presets_of(rows)
    panels = [metric for metric in METRIC_TITLES if any(row.metric == metric for row in rows)]
    with canvas(0.27 * len(presets) + 1.0, width_in=7.2) as figure:
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, metric in zip(axes, panels, strict=True):
            still = [metric + control for control in STILL_SUFFIXES]
            for place, preset in enumerate(presets):
                colour = ORANGE if preset == reference else BLUE
                frozen = [100 * r.value for r in rows if r.preset == preset and r.metric in still]
                moving = [100 * r.value for r in rows if r.preset == preset and r.metric == metric]
                axis.scatter(frozen, [place] * len(frozen), s=16, facecolors="none", edgecolors=GREY, linewidths=0.9)
                axis.scatter(moving, [place] * len(moving), s=18, color=colour, alpha=0.7, linewidths=0)
                if found := score(rows, preset, metric):
                    mean = 100 * found.mean
                    axis.plot([mean, mean], [place - 0.33, place + 0.33], color=colour, linewidth=2)
            if metric in chance:
                axis.axvline(100 * chance[metric], color=INK, linewidth=1, linestyle=(0, (4, 3)))
            axis.set_title(METRIC_TITLES[metric], fontweight="bold")
            axis.set_xlim(0, 102)
            axis.set_xlabel("% of the test videos")
            axis.grid(axis="y", visible=False)
            axis.tick_params(axis="y", length=0)
        axes[0].set_yticks(range(len(presets)), presets)
        axes[0].set_ylim(len(presets) - 0.4, -0.6)
        return to_svg(figure)
