"""What motion and screen have to show: how much moves, motion curves, clips kept and dropped."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mscl.display.blocks import Block, Chart, ContactSheet, Note, Photo, SheetPicture, Table, attempt
from mscl.display.pictures import flow_legend
from mscl.extract.config import FlowConfig
from mscl.extract.segment_pictures import SegmentPictures
from mscl.motion.clips_in_shots import clips_in_one_shot
from mscl.motion.config import ScreenConfig
from mscl.motion.extremes import extremes
from mscl.motion.figures import LABELS, motion_curve, score_histograms
from mscl.motion.scores import given, score_table
from mscl.stage.view import Stages
from mscl.video.config import ClipConfig
from storage.layout import Measured, Screened

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storage.screen_table import ScreenRow

_CURVES_SHOWN = 2
_SEGMENTS_SHOWN = 4
_CLIPS_SHOWN = 3
"""Of each of these segments, kept and dropped ones."""


def motion_blocks(stages: Stages) -> list[Block]:
    """How much moves, and the segments at the ends of the scale."""
    from storage.motion_store import MotionReader

    store = MotionReader(Measured(stages["motion"].folder).motion)
    scores = score_table(store)
    peaks = scores["peak_px"][np.isfinite(scores["peak_px"])]
    middle = f"half of {len(peaks):,} segments move faster than {np.median(peaks) if len(peaks) else 0:.2f} px"
    chart = score_histograms(scores, _limits(stages))
    caption = f"How much moves: {middle} somewhere. px are those of the stored grid, over one field"
    clips = attempt("clips", lambda: extremes(SegmentPictures.of(stages), store, scores))
    return [Chart(chart, caption=caption), *_quantiles(scores), *clips]


def _quantiles(scores: Mapping[str, "NDArray[np.float64]"]) -> list[Block]:
    """What to choose thresholds by."""
    shares = (0.05, 0.25, 0.5, 0.75, 0.95)
    rows = [
        (f"{name}: {LABELS[name]}", *(f"{value:.2g}" for value in np.quantile(known, shares)))
        for name, values in scores.items()
        if len(known := values[np.isfinite(values)])
    ]
    if not rows:
        return []
    head = ("score", *(f"{share:.0%}" for share in shares))
    return [
        Table(
            head,
            tuple(rows),
            caption="What that share of the segments stays below: choose screen.min and screen.max by it",
        )
    ]


def _limits(stages: Stages) -> dict[str, list[tuple[str, float]]]:
    """Score -> thresholds of the screen, where there is one."""
    limits: dict[str, list[tuple[str, float]]] = {}
    if "screen" in stages:
        config = ScreenConfig.model_validate(stages["screen"].config["screen"])
        limits["peak_px"] = [("min", config.min_motion_px)] if config.min_motion_px else []
        for word, bounds in (("min", config.min), ("max", config.max)):
            for name, value in given(bounds):
                limits.setdefault(name, []).append((word, value))
    return limits


def screen_blocks(stages: Stages) -> list[Block]:
    """Verdicts of the screen, motion curves with chosen and dropped starts, clips kept and dropped."""
    from storage.motion_store import MotionReader
    from storage.screen_table import read_screen

    clip = ClipConfig.model_validate(stages["screen"].config["clip"])
    flow = FlowConfig.model_validate(stages["extract"].config["flow"])
    by_median = ScreenConfig.model_validate(stages["screen"].config["screen"]).select == "mds"
    pictures = SegmentPictures.of(stages)
    table = read_screen(Screened(stages["screen"].folder).table)
    rows = list(table.rows())
    names = [str(row.verdict) for row in rows]
    reasons = {
        name: next((row.reason for row in rows if row.verdict == name and row.reason), "") for name in set(names)
    }
    blocks: list[Block] = [
        Table(
            ("verdict", "segments", "chosen starts", "of candidates"),
            tuple(
                (
                    name,
                    f"{names.count(name):,}",
                    f"{sum(len(row.chosen) for row in rows if row.verdict == name):,}",
                    f"{sum(row.num_candidates for row in rows if row.verdict == name):,}",
                )
                for name in sorted(set(names), key=lambda name: -names.count(name))
            ),
            caption="What motion differential sampling decided",
        )
    ]
    blocks += [Note(f"{name}, for example: {reason}") for name, reason in sorted(reasons.items()) if reason]
    store = MotionReader(Measured(stages["motion"].folder).motion)
    picked = [row.segment for row in rows if row.verdict == "chosen"]

    def median_of(segment: int) -> float | None:
        """Of the scores that the choice was made by."""
        if not by_median:
            return None
        scores, cuts = np.asarray(rows[segment].scores), pictures.manifest.row(segment).cuts
        spans = {"gap_frames": flow.gap_frames, "span_frames": flow.span_frames}
        whole = clips_in_one_shot(len(scores), store.num_fields(segment), cuts, clip=clip, **spans)
        return float(np.median(scores[whole]))

    for segment in pictures.sample(_CURVES_SHOWN, among=picked):
        row = rows[segment]
        chart = motion_curve(
            store.differences(segment), np.asarray(row.scores), [int(i) for i in row.chosen],
            median=median_of(segment), frame_step=pictures.gap_frames,
            title=f"{pictures.class_name(segment)} · {pictures.name(segment)}",
        )  # fmt: skip
        caption = "Motion differences of the fields (above); scores of the clips that start there (below)"
        blocks.append(Chart(chart, caption=caption))
    shown = {segment: median_of(segment) for segment in pictures.sample(_SEGMENTS_SHOWN, among=picked)}
    sheet_of = kept_and_dropped(pictures, [rows[i] for i in shown], list(shown.values()), clip_span=clip.span)
    legend = Photo(
        flow_legend(), "Colours of flow: the direction away from the middle, scaled picture by picture", is_legend=True
    )
    return [*blocks, legend, sheet_of]


def kept_and_dropped(
    pictures: SegmentPictures, rows: Sequence["ScreenRow"], medians: Sequence[float | None], *, clip_span: int = 1
) -> ContactSheet:
    """Per segment the clips with the highest scores among the chosen, and with the lowest among the dropped.

    Args:
        pictures: of the segments.
        rows: what was decided of each.
        medians: above which the chosen ones score; None: they were not chosen by it.
        clip_span: indices from the first to the last of a clip; its middle is shown.
    """
    middle = clip_span // 2
    lines = []
    for row, median in zip(rows, medians, strict=True):
        above = "" if median is None else f" > {median:.3g}"
        scores = np.asarray(row.scores)
        chosen = np.asarray(row.chosen, dtype=int)
        dropped = np.setdiff1d(np.arange(row.num_candidates), chosen)
        best = _apart(chosen[np.argsort(-scores[chosen], kind="stable")], _CLIPS_SHOWN)
        worst = _apart(dropped[np.argsort(scores[dropped], kind="stable")], _CLIPS_SHOWN)
        cells = [
            SheetPicture(
                pictures.thumb(row.segment, start + middle, mark="right"),
                f"kept · {scores[start]:.3g}{above}",
                "right",
            )
            for start in best
        ]
        cells += [
            SheetPicture(
                pictures.thumb(row.segment, start + middle, mark="wrong"), f"dropped · {scores[start]:.3g}", "wrong"
            )
            for start in worst
        ]
        lines.append((f"{pictures.class_name(row.segment)} · {pictures.name(row.segment)}", tuple(cells)))
    why = " (they score above the video's median)" if any(median is not None for median in medians) else ""
    return ContactSheet(
        tuple(lines),
        caption=f"Middle frame and its flow of clips that training sees, green{why}, and of clips that it does not "
        "see, red",
    )


def _apart(starts: "np.ndarray[tuple[int], np.dtype[np.int64]]", count: int) -> list[int]:
    """The first `count` starts that are not neighbours of one already taken, as far as there are such."""
    gap = max(1, len(starts) // (2 * count))
    taken: list[int] = []
    for start in starts.tolist():
        if len(taken) < count and all(abs(start - other) >= gap for other in taken):
            taken.append(int(start))
    return taken
