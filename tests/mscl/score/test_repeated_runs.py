"""Means over splits and seeds, and their intervals."""

import numpy as np
import pytest

from mscl.score.classification import classification
from mscl.score.intervals import bootstrap_mean, bootstrap_mean_of_means
from mscl.score.repeated_runs import Run, confusion_over_runs, mean_over_runs


def _run(split: int, seed: int, predicted: list[int], labels: list[int]) -> Run:
    probabilities = np.eye(3, dtype=np.float32)[predicted]
    return Run(split, seed, classification(probabilities, np.array(labels)))


def test_splits_count_alike_whatever_their_size() -> None:
    runs = [_run(1, 0, [0, 0], [0, 1]), _run(2, 0, [0, 1, 0, 1], [0, 1, 0, 1])]
    metrics = mean_over_runs(runs)
    assert metrics["top1"] == pytest.approx((0.5 + 1.0) / 2)
    assert metrics["mean_class"] == pytest.approx((0.5 + 1.0) / 2)
    assert metrics["top1_std_splits"] == pytest.approx(np.std([0.5, 1.0], ddof=1))
    assert "top1_std_seeds" not in metrics and "top5" not in metrics
    assert metrics["num_test"] == 6
    assert confusion_over_runs(runs) == [[3, 0, 0], [1, 2, 0], [0, 0, 0]]


def test_seeds_have_a_spread_and_share_their_videos() -> None:
    labels = [0, 1, 2, 0]
    runs = [_run(1, 0, [0, 1, 2, 0], labels), _run(1, 1, [0, 1, 2, 1], labels), _run(1, 2, [0, 1, 0, 1], labels)]
    metrics = mean_over_runs(runs)
    assert metrics["top1"] == pytest.approx((1 + 0.75 + 0.5) / 3)
    assert metrics["top1_std_seeds"] == pytest.approx(0.25)
    # Two videos are right with every seed, one with two of three, one with one of three.
    assert metrics["top1_interval"] == list(bootstrap_mean(np.array([1, 1, 2 / 3, 1 / 3]), seed=0))
    low, high = metrics["mean_class_interval"]
    assert low <= metrics["mean_class"] <= high


def test_one_run_keeps_its_own_interval() -> None:
    run = _run(1, 0, [0, 1, 2, 2], [0, 1, 2, 0])
    metrics = mean_over_runs([run])
    assert {name: metrics[name] for name in run.scores.as_metrics()} == run.scores.as_metrics()
    assert metrics["splits"] == [1] and metrics["seeds"] == [0] and len(metrics["runs"]) == 1


def test_a_missing_run_is_refused() -> None:
    runs = [_run(1, 0, [0], [0]), _run(1, 1, [0], [0]), _run(2, 0, [0], [0])]
    with pytest.raises(ValueError, match="3 runs are not one for each"):
        mean_over_runs(runs)


def test_interval_of_a_mean_of_means_has_the_width_of_independent_groups() -> None:
    hits = [np.arange(400) < 100, np.arange(100) < 50]
    low, high = bootstrap_mean_of_means(hits, seed=0)
    deviation = np.sqrt(0.25 * 0.75 / 400 + 0.5 * 0.5 / 100) / 2
    assert low == pytest.approx(0.375 - 1.96 * deviation, abs=0.2 * deviation)
    assert high == pytest.approx(0.375 + 1.96 * deviation, abs=0.2 * deviation)
