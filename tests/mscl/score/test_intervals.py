"""Intervals: known widths, groups that vary together, and how often they hold what they should."""

import math

import numpy as np
import pytest

from mscl.array_types import Ints
from mscl.score.intervals import class_mean_interval, mean_interval, mean_of_means_interval


def interval(values: np.ndarray, groups: Ints | None = None) -> tuple[float, float]:
    found = mean_interval(values, groups)
    assert found is not None
    return found


def test_a_share_of_independent_videos_has_the_binomial_width() -> None:
    low, high = interval(np.arange(400) < 100)
    deviation = math.sqrt(0.25 * 0.75 / 400)
    assert low == pytest.approx(0.25 - 1.96 * deviation, abs=0.2 * deviation)
    assert high == pytest.approx(0.25 + 1.96 * deviation, abs=0.2 * deviation)


def test_groups_that_are_alike_count_once() -> None:
    """Forty groups of five equal videos are forty draws, not two hundred."""
    hits = np.arange(40) < 10
    low, high = interval(np.repeat(hits, 5), np.repeat(np.arange(40), 5))
    assert (low, high) == pytest.approx(interval(hits))
    narrow_low, narrow_high = interval(np.repeat(hits, 5))
    assert (high - low) / (narrow_high - narrow_low) == pytest.approx(math.sqrt(5), rel=0.05)


def test_groups_may_come_in_any_order_and_by_any_number() -> None:
    hits, groups = np.arange(30) % 3 == 0, np.arange(30) % 4
    mixed = np.random.default_rng(0).permutation(30)
    assert interval(hits, groups) == pytest.approx(interval(hits[mixed], 7 * groups[mixed] + 100))


def test_all_right_is_no_certainty() -> None:
    """Of twenty independent videos that are all right up to 16.8 % may be wrong: .025 ** (1 / 20)."""
    assert interval(np.ones(20)) == (pytest.approx(0.025 ** (1 / 20)), 1.0)
    assert interval(np.zeros(20)) == (0.0, pytest.approx(1 - 0.025 ** (1 / 20)))
    assert interval(np.ones(20), np.arange(20) // 5)[0] == pytest.approx(0.025 ** (1 / 4))


def test_of_too_few_there_is_no_interval() -> None:
    assert mean_interval(np.ones(9)) is None and mean_interval(np.ones(10)) is not None
    assert mean_interval(np.ones(30), np.arange(30) % 2) is None
    assert mean_of_means_interval([np.ones(30)] * 2, [np.arange(30) % 2, None]) is None
    with pytest.raises(ValueError, match="at least one value"):
        mean_interval(np.empty(0))


def test_the_mean_of_classes_weighs_classes_alike() -> None:
    """Two classes: 90 videos all right, 10 of which half are; the second alone decides how wide it is."""
    hits = np.concatenate([np.ones(90), np.arange(10) % 2])
    labels = np.repeat([0, 3], [90, 10])
    found = class_mean_interval([hits], [labels], [None])
    assert found is not None
    deviation = math.sqrt(0.25 / 10) / 2
    assert found[0] < 0.75 < found[1]
    assert found[1] - found[0] == pytest.approx(2 * 1.98 * deviation, rel=0.1)


def test_classes_of_one_video_or_one_group_do_not_seem_certain() -> None:
    hits, classes = np.arange(40) % 4 == 0, np.arange(40)
    assert class_mean_interval([hits], [classes], [None]) == pytest.approx(interval(hits))
    twice = [np.repeat(hits, 2)], [np.repeat(classes, 2)]
    assert class_mean_interval(*twice, [np.repeat(classes, 2)]) == pytest.approx(interval(hits))


def test_classes_that_are_all_right_or_all_wrong_give_no_interval() -> None:
    """Two videos each of twenty classes: none differs within its class, which makes nothing certain."""
    classes = np.repeat(np.arange(20), 2)
    assert class_mean_interval([classes < 5], [classes], [None]) is None


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize(("groups", "size"), [(7, 8), (25, 6), (70, 4)])
def test_ninety_five_percent_of_intervals_hold_the_truth(groups: int, size: int, share: float) -> None:
    """Beta-binomial groups of a correlation of .4 within them, of unequal sizes."""
    draws = np.random.default_rng(groups)
    spread = (1 - 0.4) / 0.4
    held = alone = 0
    for _ in range(500):
        sizes = draws.integers(size // 2, size * 3 // 2 + 1, groups)
        group_N = np.repeat(np.arange(groups), sizes)
        right_N = draws.random(len(group_N)) < draws.beta(share * spread, (1 - share) * spread, groups)[group_N]
        low, high = interval(right_N, group_N)
        held += low <= share <= high
        low, high = interval(right_N)
        alone += low <= share <= high
    # The scale of a share ends at 1: with few groups near it the interval errs to the safe side.
    assert 0.93 <= held / 500 <= (0.97 if groups > 7 and share < 0.9 else 1.0)
    assert alone / 500 < 0.9, "videos taken as independent"


@pytest.mark.parametrize(("classes", "videos", "size"), [(20, 2, 1), (101, 2, 1), (10, 12, 4)])
def test_of_the_mean_of_classes_too(classes: int, videos: int, size: int) -> None:
    """Classes of two videos, and of three groups: each class's own mean follows them, which made it .83 to .91."""
    draws = np.random.default_rng(classes)
    labels, groups = np.repeat(np.arange(classes), videos), np.arange(classes * videos) // size
    held = 0
    for _ in range(500):
        share_C = draws.beta(4, 2, classes)
        own_N, leader_N = draws.random((2, len(labels))) < share_C[labels]
        right_N = np.where(draws.random(len(labels)) < math.sqrt(0.4), leader_N[groups * size], own_N)
        found = class_mean_interval([right_N], [labels], [groups])
        assert found is not None
        held += found[0] <= share_C.mean() <= found[1]
    assert 0.93 <= held / 500 <= 0.98
