"""Verdicts of single segments."""

import numpy as np
import pytest

from mscl.config import ClipConfig, FlowConfig, ScreenConfig
from mscl.errors import DataError
from mscl.motion.scores import MotionScores
from mscl.motion.screen_stage import refuse_nothing_left, screen_segment
from storage.screen_table import ScreenRow

CLIP = ClipConfig(length=4, stride=2)  # spans 7 fields


def screen(differences: list[float], *, p99: float = 1.0, **settings: object) -> tuple[str, list[int], int]:
    values = np.asarray(differences, np.float32)
    row = screen_segment(
        0, values, np.full(len(values), p99, np.float32), clip=CLIP, config=ScreenConfig.model_validate(settings)
    )
    return row.verdict, [int(start) for start in row.chosen], row.num_candidates


def test_the_lively_half_is_chosen() -> None:
    # 14 fields give starts 0..7; only fields 10 and later differ from their neighbours.
    verdict, chosen, candidates = screen([0.0] * 10 + [1.0] * 4)
    assert (verdict, candidates) == ("chosen", 8)
    assert chosen == [4, 5, 6, 7]  # 4 reads field 10, 6 reads 10 and 12, ...


def test_no_motion_is_dropped_with_the_reason() -> None:
    assert screen([0.0] * 10 + [1.0] * 4, p99=0.01) == ("no_motion", [], 8)


def test_shorter_than_a_clip_is_dropped() -> None:
    assert screen([1.0] * 6) == ("too_short", [], 0)


def test_exactly_one_clip_is_kept() -> None:
    assert screen([1.0] * 7) == ("uniform", [0], 1)


def test_select_all_keeps_every_start() -> None:
    assert screen([0.0] * 10 + [1.0] * 4, select="all") == ("chosen", list(range(8)), 8)


def test_released_counts_clips_that_run_past_the_end() -> None:
    verdict, _, candidates = screen([0.0] * 13 + [1.0], released=True)
    assert (verdict, candidates) == ("chosen", 14)


def test_thresholds_drop_with_the_reason() -> None:
    scores = MotionScores(mean_px=1.0, peak_px=3.0, moving=0.5, change=0.1, camera_px=0.9, object_px=0.1)
    values = np.asarray([0.0] * 10 + [1.0] * 4, np.float32)

    def verdict(**settings: object) -> tuple[str, str]:
        config = ScreenConfig.model_validate(settings)
        row = screen_segment(0, values, np.ones(14, np.float32), clip=CLIP, config=config, scores=scores)
        return row.verdict, row.reason

    assert verdict(min={"mean_px": 1.0}, max={"camera_px": 0.9}) == ("chosen", "")
    assert verdict(min={"object_px": 0.2}) == ("outside", "object_px 0.1 is under screen.min.object_px 0.2")
    assert verdict(max={"camera_px": 0.8999}) == ("outside", "camera_px 0.9 is above screen.max.camera_px 0.8999")
    assert verdict(min={"mean_px": 1.00004})[1] == "mean_px 1 is under screen.min.mean_px 1.00004"
    assert verdict(max={"object_px": 0.09999999})[1] == "object_px 0.1 is above screen.max.object_px 0.09999999"
    assert verdict(max={"peak_px": 2}) == ("outside", "peak_px 3 is above screen.max.peak_px 2")


def test_thresholds_that_leave_nothing_are_named() -> None:
    def row(verdict: str, reason: str = "", chosen: tuple[int, ...] = ()) -> ScreenRow:
        return ScreenRow(0, verdict, reason, 1, chosen, (0.0,))

    dropped = [row("outside", "mean_px 1 is under screen.min.mean_px 9"), row("no_motion", "still")]
    with pytest.raises(DataError, match=r"leave none of 2 segments: 1 by screen\.min\.mean_px 9 \(e\.g\. mean_px 1"):
        refuse_nothing_left(dropped)
    refuse_nothing_left([*dropped, row("chosen", chosen=(0,))])
    refuse_nothing_left(dropped[1:])


def test_clips_that_cross_a_cut_are_no_candidates() -> None:
    flow = FlowConfig(gap_frames=2, span_frames=4)
    values = np.asarray([0.0] * 6 + [5.0] * 3 + [0.1] * 4 + [0.2] * 8, np.float32)

    def screened(*cuts: int, **settings: object) -> tuple[str, list[int]]:
        config = ScreenConfig.model_validate(settings)
        row = screen_segment(0, values, np.ones(21, np.float32), clip=CLIP, config=config, cuts=cuts, flow=flow)
        return row.verdict, list(row.chosen)

    # Frame 18 is the first of field 9; a clip from field j reads the frames 2j to 2j + 12 + 4, and two more for d.
    assert screened(18) == ("chosen", [13, 14])
    assert screened(18, select="all") == ("chosen", [9, 10, 11, 12, 13, 14])
    assert screened(19, select="all") == ("chosen", [0, 10, 11, 12, 13, 14])
    assert screened(0) == screened()
    assert screened(12, 24, 36)[0] == "cut"
    assert screened(18, released=True)[1] == [start for start in screened(18, released=True)[1] if 9 <= start <= 14]
