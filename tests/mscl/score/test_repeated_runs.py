"""Means over splits and seeds, and their intervals."""

import numpy as np
import pytest

from mscl.score.classification import classification
from mscl.score.intervals import mean_interval, mean_of_means_interval
from mscl.score.repeated_runs import Trial, confusion_over_runs, mean_over_runs


def _run(split: int, seed: int, predicted: list[int], labels: list[int]) -> Trial:
    probabilities = np.eye(3, dtype=np.float32)[predicted]
    return Trial(split, seed, classification(probabilities, np.array(labels)))


def test_splits_count_alike_whatever_their_size() -> None:
    runs = [_run(1, 0, [0, 0], [0, 1]), _run(2, 0, [0, 1, 0, 1], [0, 1, 0, 1])]
    scores = mean_over_runs(runs)
    assert scores.top1.value == pytest.approx((0.5 + 1.0) / 2)
    assert scores.mean_class is not None and scores.mean_class.value == pytest.approx((0.5 + 1.0) / 2)
    assert scores.top1.std_splits == pytest.approx(np.std([0.5, 1.0], ddof=1))
    assert scores.top1.std_seeds is None and scores.top5 is None
    assert scores.num_test == scores.top1.num_videos == 6
    # The largest class of a split: one of two, two of four.
    assert scores.top1.chance == 0.5 and scores.mean_class.chance == pytest.approx(1 / 3)
    assert confusion_over_runs(runs) == [[3, 0, 0], [1, 2, 0], [0, 0, 0]]


def test_seeds_have_a_spread_and_share_their_videos() -> None:
    labels = 3 * [0, 1, 2, 0]
    said = ([0, 1, 2, 0], [0, 1, 2, 1], [0, 1, 0, 1])
    scores = mean_over_runs([_run(1, seed, 3 * predicted, labels) for seed, predicted in enumerate(said)])
    assert scores.top1.value == pytest.approx((1 + 0.75 + 0.5) / 3)
    assert scores.top1.std_seeds == pytest.approx(0.25)
    # Of every four videos two are right with every seed, one with two of three, one with one of three.
    assert scores.top1.interval == mean_interval(np.array(3 * [1, 1, 2 / 3, 1 / 3]))
    assert scores.mean_class is not None and scores.mean_class.interval is not None
    low, high = scores.mean_class.interval
    assert low <= scores.mean_class.value <= high
    assert scores.spread() == "mean over seeds 0, 1, 2 (standard deviation 25.0)"


def test_one_run_keeps_its_own_interval() -> None:
    run = _run(1, 0, 3 * [0, 1, 2, 2], 3 * [0, 1, 2, 0])
    scores = mean_over_runs([run])
    assert scores.named() == run.scores.scores() and scores.top1.interval == run.scores.top1_interval
    assert scores.splits == (1,) and scores.seeds == (0,) and len(scores.runs) == 1 and scores.spread() == ""


def test_a_missing_run_is_refused() -> None:
    runs = [_run(1, 0, [0], [0]), _run(1, 1, [0], [0]), _run(2, 0, [0], [0])]
    with pytest.raises(ValueError, match="3 runs are not one for each"):
        mean_over_runs(runs)


def test_interval_of_a_mean_of_means_has_the_width_of_independent_groups() -> None:
    hits = [np.arange(400) < 100, np.arange(100) < 50]
    found = mean_of_means_interval(hits, [None, None])
    assert found is not None
    low, high = found
    deviation = np.sqrt(0.25 * 0.75 / 400 + 0.5 * 0.5 / 100) / 2
    assert low == pytest.approx(0.375 - 1.96 * deviation, abs=0.2 * deviation)
    assert high == pytest.approx(0.375 + 1.96 * deviation, abs=0.2 * deviation)
