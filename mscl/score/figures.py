"""Pictures of scores: encoders beside their controls and chance, recall over k, confusion."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from mscl.display.style import BLUE, GREEN, GREY, INK, ORANGE, TEAL, canvas, to_svg
from mscl.embedding.variants import VARIANT_NAMES, in_order
from mscl.score.retrieval_scores import RetrievalScores
from mscl.score.scores import Score

VARIANT_COLOURS = {"trained": BLUE, "untrained": ORANGE, "trained_shuffled": TEAL}
"""Clips that stand still are grey."""


def score_bars(panels: Mapping[str, Mapping[str, Score]], *, labels: Mapping[str, str] = VARIANT_NAMES) -> str:
    """Horizontal bars of one score per panel, with its interval; a dashed line where chance lies.

    Args:
        panels: title -> variant -> score.
        labels: how each variant is called.
    """
    rows = [len(variants) for variants in panels.values()]
    with canvas(0.32 * sum(rows) + 0.55 * len(rows)) as figure:
        axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=[n + 0.6 for n in rows])[:, 0]
        for axis, (title, variants) in zip(axes, panels.items(), strict=True):
            names = in_order(variants)
            chance = next((score.chance for score in variants.values()), None)
            for place, name in enumerate(names):
                score = variants[name]
                value = 100 * score.value
                axis.barh(place, value, height=0.62, color=VARIANT_COLOURS.get(name, GREY), alpha=0.85)
                low, high = (100 * end for end in score.interval or (score.value, score.value))
                axis.plot([low, high], [place, place], color=INK, linewidth=1.2, solid_capstyle="butt")
                end = (_clear_of(max(high, value), None if chance is None else 100 * chance), place)
                axis.annotate(f"{value:.1f}", end, (5, 0), textcoords="offset points", va="center", fontsize=8.5)
            if chance is not None:
                axis.axvline(100 * chance, color=INK, linewidth=1, linestyle=(0, (4, 3)))
                axis.annotate(
                    f"chance {100 * chance:.1f}", (100 * chance, 1.0), (3, 2), xycoords=("data", "axes fraction"),
                    textcoords="offset points", fontsize=8,
                )  # fmt: skip
            axis.set_yticks(range(len(names)), [labels.get(name, name) for name in names])
            axis.set_ylim(len(names) - 0.45, -0.55)
            axis.set_title(title, fontweight="bold", loc="left", x=-0.0, pad=12 if chance is not None else 5)
            axis.grid(axis="y", visible=False)
            axis.tick_params(axis="y", length=0)
        axes[-1].set_xlim(0, 108)
        axes[-1].set_xticks(range(0, 101, 20))
        lined = any(score.interval for variants in panels.values() for score in variants.values())
        axes[-1].set_xlabel(f"% of the test videos{'; lines: 95 % interval' if lined else ''}")
        return to_svg(figure)


def _clear_of(end: float, line: float | None) -> float:
    """Where a number of four characters can stand right of `end` without being crossed by a line, in %."""
    return end if line is None or not end <= line <= end + 10 else line


def recall_curve(variants: Mapping[str, RetrievalScores], *, labels: Mapping[str, str] = VARIANT_NAMES) -> str:
    """R@k over k of every variant and of chance, with intervals as bands."""
    first = next(iter(variants.values()))
    ks = list(first.recall)
    with canvas(3.1) as figure:
        axis = figure.subplots()
        for name in in_order(variants):
            colour, recall = VARIANT_COLOURS.get(name, GREY), [variants[name].recall[k] for k in ks]
            values = [100 * score.value for score in recall]
            axis.plot(ks, values, "o-", markersize=3.5, color=colour, label=labels.get(name, name))
            bands = [score.interval or (score.value, score.value) for score in recall]
            low, high = ([100 * band[end] for band in bands] for end in (0, 1))
            axis.fill_between(ks, low, high, color=colour, alpha=0.15, linewidth=0)
        chance = [math.nan if score.chance is None else 100 * score.chance for score in first.recall.values()]
        axis.plot(ks, chance, "--", color=INK, linewidth=1, label="chance")
        axis.set_xscale("log")
        axis.set_xticks(ks, [str(k) for k in ks])
        axis.minorticks_off()
        axis.set_ylim(0, 103)
        axis.set_xlabel("k nearest train videos")
        axis.set_ylabel("R@k, %")
        figure.legend(loc="outside upper left", ncols=3, columnspacing=1.2)
        return to_svg(figure)


def shortened(names: Sequence[str]) -> list[str]:
    """Names of at most 20 letters, every one another: those that begin alike keep their ends, or get a number."""
    ways = (
        [name if len(name) <= 20 else f"{name[:19]}…" for name in names],
        [f"{name[:9]}…{name[-10:]}" for name in names],
        [f"{place}: {name[:14]}…" for place, name in enumerate(names, 1)],
    )
    shown = ways[0]
    for others in ways[1:]:
        times = Counter(shown)
        shown = [other if times[short] > 1 else short for short, other in zip(shown, others, strict=True)]
    return shown


def confusion_matrix(counts_CC: Sequence[Sequence[int]], classes: Sequence[str]) -> str:
    """Share of each true class (row) that was called what (column); numbers where they fit."""
    import numpy as np

    counts = np.asarray(counts_CC, dtype=float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = len(classes)
    with canvas(4.6 if size <= 40 else 5.4) as figure:
        axis = figure.subplots()
        axis.grid(visible=False)
        # Opacity instead of a map from white: empty cells then have the ground of the theme.
        base = np.empty((size, size, 4))
        base[..., :3] = [int(GREEN[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        right = np.eye(size, dtype=bool)
        base[~right, :3] = [int(ORANGE[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        base[..., 3] = shares
        axis.imshow(base, interpolation="nearest", aspect="equal")
        if size <= 16:
            for row, column in np.argwhere(counts > 0):
                axis.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", fontsize=8)
        if size <= 40:
            shown = shortened(classes)
            axis.set_xticks(range(size), shown, rotation=55, ha="right", rotation_mode="anchor")
            axis.set_yticks(range(size), shown)
        axis.tick_params(length=0)
        axis.set_xlabel("called")
        axis.set_ylabel("true class")
        for spine in axis.spines.values():
            spine.set_visible(True)
            spine.set_alpha(0.3)
        return to_svg(figure)
