"""Accuracies by hand, intervals by closed form, the probe on data whose answer is known."""

import numpy as np
import pytest

from mscl.config import ProbeConfig
from mscl.errors import DataError
from mscl.score.classification import classification
from mscl.score.intervals import bootstrap_mean
from mscl.score.probe import linear_probe


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


def test_bootstrap_of_a_share_has_the_binomial_width() -> None:
    hits = np.arange(400) < 100
    low, high = bootstrap_mean(hits, seed=3)
    deviation = np.sqrt(0.25 * 0.75 / 400)
    assert low == pytest.approx(0.25 - 1.96 * deviation, abs=0.2 * deviation)
    assert high == pytest.approx(0.25 + 1.96 * deviation, abs=0.2 * deviation)
    assert bootstrap_mean(hits, seed=3) == (low, high)
    assert bootstrap_mean(np.ones(5), seed=0) == (1.0, 1.0)


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
    low, high = blind.scores.top1_interval
    assert low < 1 / 3 < high


def test_probe_with_a_class_of_one_says_that_it_could_not_choose() -> None:
    features = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2])
    probe = linear_probe(features, labels, features, labels, num_classes=4, config=ProbeConfig())
    assert probe.details["folds"] == 0
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
        linear_probe(
            train.astype(np.float32), labels, test, np.array([0]), num_classes=2, config=ProbeConfig()
        )  # fmt: skip
