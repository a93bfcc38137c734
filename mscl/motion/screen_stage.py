"""Stage screen: motion differences -> clip starts worth training on, and why the rest was dropped (METHOD 1.2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mscl.config import ExperimentConfig
from mscl.display.blocks import Block
from mscl.errors import DataError
from mscl.extract.config import FlowConfig
from mscl.motion.clips_in_shots import clips_in_one_shot
from mscl.motion.config import ScreenConfig
from mscl.motion.scores import MotionScores, outside, scores_of, told_from
from mscl.screening import chosen_starts, clip_scores
from mscl.stage.contract import Stage, StageRun
from mscl.stage.view import Stages
from mscl.video.config import ClipConfig
from storage.layout import Ingested, Measured, Screened
from storage.motion_store import MotionReader
from storage.screen_table import ScreenRow, write_screen

_RELEASED_STRIDE = 4  # D17: the released code scores with this stride, whatever the training's


def _settings(config: ExperimentConfig) -> dict[str, Any]:
    return {"screen": config.screen.model_dump(mode="json"), "clip": config.clip.model_dump(mode="json")}


def _run(run: StageRun) -> dict[str, Any]:
    store = MotionReader(Measured(run.input("motion")).motion)
    cuts = [row.cuts for row in Ingested(run.input("ingest")).manifest().ok().rows()]
    flow = FlowConfig.model_validate(run.inputs["extract"].record.config["flow"])
    rows = []
    run.progress.start("Choosing clips", len(store), "segments")
    for segment in range(len(store)):
        rows.append(
            screen_segment(
                segment, store.differences(segment), store.magnitude_p99(segment), clip=run.config.clip,
                config=run.config.screen, scores=scores_of(store, segment), cuts=cuts[segment], flow=flow,
            )
        )  # fmt: skip
        run.progress.advance()
    run.progress.done()
    refuse_nothing_left(rows)
    table = Screened(run.folder).table
    run.digests[table.name] = write_screen(table, rows)
    candidates, chosen = sum(row.num_candidates for row in rows), sum(len(row.chosen) for row in rows)
    return {
        "segments": len(rows), "candidates": candidates, "chosen": chosen,
        "verdicts": dict(Counter(row.verdict for row in rows)),
    }  # fmt: skip


def refuse_nothing_left(rows: list[ScreenRow]) -> None:
    """Thresholds that leave no segment are said to be the reason, and by how many each."""
    missed = Counter(row.reason.rpartition(" screen.")[2] for row in rows if row.verdict == "outside")
    if missed and not any(row.chosen for row in rows):
        which = ", ".join(f"{count} by screen.{setting}" for setting, count in missed.most_common())
        example = next(row.reason for row in rows if row.verdict == "outside")
        raise DataError(
            f"the thresholds leave none of {len(rows)} segments: {which} (e.g. {example}); `mscl motion scores` lists "
            "what there is"
        )


def screen_segment(
    segment: int,
    differences_M: NDArray[np.float32],
    magnitude_p99_M: NDArray[np.float32],
    *,
    clip: ClipConfig,
    config: ScreenConfig,
    scores: MotionScores | None = None,
    cuts: Sequence[int] = (),
    flow: FlowConfig | None = None,
) -> ScreenRow:
    """Verdict, reason, scores and chosen starts of one segment.

    Verdicts: `chosen`; `too_short` for a clip; `no_motion` as large as `min_motion_px` (D18); `outside` the thresholds
    `min` and `max`; `cut` where every clip crosses a cut; `uniform` where no start scores above the median, as in a
    video that moves alike throughout, which then keeps every start. The median is that of the clips that cross no cut.

    Args:
        cuts: frames of the segment with which another shot begins.
        flow: how its fields were computed; needed where there are cuts.
    """
    stride = _RELEASED_STRIDE if config.released else clip.stride
    of_starts = clip_scores(differences_M, length=clip.length, stride=stride, released=config.released)
    everything = np.arange(len(of_starts))
    if cuts:
        if flow is None:
            raise ValueError("which clips cross a cut depends on how the fields were computed: flow is missing")
        spans = {"gap_frames": flow.gap_frames, "span_frames": flow.span_frames}
        everything = np.flatnonzero(clips_in_one_shot(len(of_starts), len(differences_M), cuts, clip=clip, **spans))
    strongest = float(magnitude_p99_M.max(initial=0.0))
    chosen = everything[:0]
    verdict, reason = "chosen", ""
    if not len(of_starts):
        verdict = "too_short"
        reason = f"{len(differences_M)} fields, a clip of {clip.length} with stride {clip.stride} spans {clip.span}"
    elif strongest < config.min_motion_px:
        verdict = "no_motion"
        least = config.min_motion_px
        reason = f"99th percentile of flow stays at {told_from(least, strongest)} px, under {least}"
    elif scores is not None and (missed := outside(scores, config)):
        verdict, reason = "outside", missed[1]
    elif not len(everything):
        verdict, reason = "cut", f"each of {len(of_starts)} clips crosses a cut; data.cuts=split ends segments there"
    elif config.select == "all":
        chosen = everything
    else:
        chosen = everything[chosen_starts(of_starts[everything])]
        if not len(chosen):
            verdict, reason, chosen = "uniform", "no start scores above the median: all are kept", everything
    return ScreenRow(
        segment=segment, verdict=verdict, reason=reason, num_candidates=len(of_starts),
        chosen=tuple(chosen.tolist()), scores=tuple(of_starts.tolist()),
    )  # fmt: skip


def _blocks(stages: Stages) -> list[Block]:
    from mscl.motion.blocks import screen_blocks

    return screen_blocks(stages)


def _headline(metrics: Mapping[str, Any]) -> str:
    used = sum(metrics["verdicts"].get(verdict, 0) for verdict in ("chosen", "uniform"))
    return f"{metrics['chosen']:,} of {metrics['candidates']:,} clips, in {used:,} segments"


SCREEN = Stage(
    name="screen",
    version=1,
    needs=("ingest", "extract", "motion"),
    settings=_settings,
    run=_run,
    summary="Motion differential sampling: the clip starts worth training on, and why the others were dropped.",
    headline=_headline,
    title="Motion differential sampling",
    lead="Which clips training sees: those whose motion changes more than in the median clip of their video, or with "
    "screen.select=all every one.",
    blocks=_blocks,
)
