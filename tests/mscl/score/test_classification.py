"""Accuracies by hand, intervals by closed form, the probe on data whose answer is known."""

import numpy as np
import pytest

from mscl.config import ProbeConfig
from mscl.errors import DataError
from mscl.score.classification import classification
from mscl.score.probe import Probe, linear_probe


def _one_hot(predicted: list[int], classes: int) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[predicted]


def test_scores_by_hand() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1])
    result = classification(_one_hot([0, 0, 0, 1, 1, 0], 3), labels)
    assert result.top1 == pytest.approx(4 / 6)
    assert result.mean_class == pytest.approx((3 / 4 + 1 / 2) / 2)  # class 2 has no test item
    np.testing.assert_array_equal(result.confusion_CC, [[3, 1, 0], [1, 1, 0], [0, 0, 0]])
    assert result.chance_largest == pytest.approx(4 / 6)
    assert result.chance_uniform == pytest.approx(1 / 3)
    assert result.top5 is None


def test_top5_counts_the_five_largest() -> None:
    probabilities = np.tile(np.arange(8, dtype=np.float32), (8, 1))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    result = classification(probabilities, np.arange(8))
    assert result.top1 == pytest.approx(1 / 8)
    assert result.top5 == pytest.approx(5 / 8)


def test_top5_takes_no_class_that_was_not_voted_for() -> None:
    """Neighbours of two classes vote: the others do not fill up the five, by whatever end of the list."""
    votes = np.zeros((8, 8), np.float32)
    votes[:, [2, 6]] = 0.75, 0.25
    assert classification(votes, np.arange(8)).top5 == pytest.approx(2 / 8)


def test_what_is_right_is_among_the_best_five_where_classes_are_equal() -> None:
    alike = classification(np.full((8, 8), 1 / 8), np.arange(8))
    assert (alike.top1, alike.top5) == (1 / 8, 5 / 8)
    first = classification(np.full((1, 8), 1 / 8), np.array([0]))
    assert (first.top1, first.top5) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (np.zeros((0, 2)), np.zeros(0, int), "got \\(0, 2\\)"),
        (np.full((2, 2), 0.5), np.array([0, 2]), "labels run from 0 to 2, but there are 2 classes"),
        (np.full((2, 2), np.nan), np.array([0, 1]), "not finite"),
    ],
)
def test_unfit_scores_are_refused(probabilities: np.ndarray, labels: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        classification(probabilities, labels)


def test_probe_separates_what_is_separable_and_scores_noise_at_chance() -> None:
    draws = np.random.default_rng(0)
    labels = np.arange(120) % 3
    means = 4 * np.eye(3, 6)
    features = (means[labels] + draws.normal(size=(120, 6))).astype(np.float32)
    # An offset and a scale per channel change nothing: features are standardised.
    features = features * np.float32([1, 100, 1e-3, 1, 1, 1]) + 5
    probe = linear_probe(features[:60], labels[:60], features[60:], labels[60:], num_classes=3, config=ProbeConfig())
    assert probe.scores.top1 > 0.95
    assert probe.warnings == ()
    noise = draws.normal(size=(120, 6)).astype(np.float32)
    blind = linear_probe(noise[:60], labels[:60], noise[60:], labels[60:], num_classes=3, config=ProbeConfig())
    assert blind.scores.top1_interval is not None
    low, high = blind.scores.top1_interval
    assert low < 1 / 3 < high


def test_folds_keep_groups_together() -> None:
    """Features tell the group alone. With its twins in the train part a video's class is known from them, so weak
    regularisation wins; where groups are held out as a whole, nothing is better than the larger class."""
    groups = np.repeat(np.arange(12), 6)
    labels = np.repeat((np.arange(12) < 4).astype(np.int64), 6)
    features = (np.eye(12)[groups] + 0.01 * np.random.default_rng(0).normal(size=(72, 12))).astype(np.float32)
    config = ProbeConfig(l2=(0.01, 10000.0))

    def probe(rows: slice, given: np.ndarray | None) -> Probe:
        return linear_probe(
            features[rows], labels[rows], features, labels, num_classes=2, config=config, train_groups=given
        )

    every, few = slice(None), slice(12, 36)
    assert probe(every, None).details.l2 == 0.01
    assert probe(every, groups).details.l2 == 10000
    assert "the smallest train class has 2 groups: 2 folds instead of 3" in probe(few, groups[few]).warnings


def test_probe_with_a_class_of_one_says_that_it_could_not_choose() -> None:
    features = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2])
    probe = linear_probe(features, labels, features, labels, num_classes=4, config=ProbeConfig())
    assert probe.details.folds == 0
    assert any("no cross-validation" in note for note in probe.warnings)


@pytest.mark.parametrize(
    ("train", "labels", "message"),
    [
        (np.zeros((0, 2)), np.zeros(0, int), "train split is empty"),
        (np.zeros((3, 2)), np.zeros(3, int), "at least two"),
        (np.zeros((3, 2)), np.array([0, 1, -1]), "1 train items have no label"),
        (np.full((2, 2), np.inf), np.array([0, 1]), "not finite"),
    ],
)
def test_probe_refuses_what_it_cannot_learn_from(train: np.ndarray, labels: np.ndarray, message: str) -> None:
    test = np.zeros((1, 2), np.float32)
    with pytest.raises(DataError, match=message):
        linear_probe(train.astype(np.float32), labels, test, np.array([0]), num_classes=2, config=ProbeConfig())


def test_many_classes_of_few_videos_are_classes_all_the_same() -> None:
    """scikit-learn takes such labels for numbers to regress on, and said so of every fit."""
    labels = np.concatenate([np.arange(25), np.arange(5)])
    features = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    probe = linear_probe(features, labels, features, labels, num_classes=25, config=ProbeConfig(l2=(1.0,)))
    assert probe.warnings == ()
    assert probe.details.folds == 0, "one strength is not chosen"
