"""Verdicts of single segments."""

import numpy as np

from mscl.config import ClipConfig, ScreenConfig
from mscl.motion.screen_stage import screen_segment

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
