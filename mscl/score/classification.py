"""Scores of a classifier from its probabilities: top-1, top-5, mean class accuracy, confusion."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mscl.errors import DataError
from mscl.score.intervals import Interval, bootstrap_mean, bootstrap_statistic
from mscl.score.scores import Score


@dataclass(frozen=True)
class Classification:
    """Scores on one test set; fractions in 0..1."""

    top1: float
    top1_interval: Interval
    top5: float | None
    """None with five classes or fewer, where it says nothing."""
    mean_class: float
    """Mean of the accuracies of the classes that the test set has."""
    mean_class_interval: Interval
    confusion_CC: npt.NDArray[np.int64]
    """Rows: true class, columns: predicted class."""
    chance_largest: float
    """Accuracy of always naming the test set's largest class."""
    chance_uniform: float
    """Accuracy of guessing at random: 1 / classes."""
    num_test: int
    right_N: npt.NDArray[np.bool_]
    """Whether the most probable class of each item is its own."""
    labels_N: npt.NDArray[np.int64]

    def scores(self) -> dict[str, Score]:
        """Its numbers beside their chance."""
        num = self.num_test
        scores = {
            "top1": Score(
                value=self.top1, interval=self.top1_interval, chance=self.chance_largest, num_videos=num
            ),
            "mean_class": Score(
                value=self.mean_class, interval=self.mean_class_interval, chance=self.chance_uniform, num_videos=num
            ),
        }  # fmt: skip
        return scores if self.top5 is None else scores | {"top5": Score(value=self.top5, num_videos=num)}


def classification(
    probabilities_NC: npt.NDArray[np.floating], labels_N: npt.NDArray[np.int64], *, seed: int = 0
) -> Classification:
    """Score class probabilities (N, C) against labels (N,) in 0..C-1.

    Raises:
        DataError: no items, sizes that do not fit, labels outside the classes, or values that are not finite.
    """
    import torch
    from torchmetrics.functional.classification import multiclass_accuracy, multiclass_confusion_matrix

    _check(probabilities_NC, labels_N)
    num, classes = probabilities_NC.shape
    scores = torch.from_numpy(np.ascontiguousarray(probabilities_NC, dtype=np.float32))
    labels = torch.from_numpy(np.ascontiguousarray(labels_N, dtype=np.int64))
    predicted = scores.argmax(dim=1)

    def accuracy(top_k: int) -> float:
        return float(multiclass_accuracy(scores, labels, num_classes=classes, average="micro", top_k=top_k))

    confusion = multiclass_confusion_matrix(predicted, labels, num_classes=classes).numpy().astype(np.int64)
    right = (predicted == labels).numpy()
    counts = np.bincount(labels_N, minlength=classes)
    # torchmetrics' own mean would count a class that the test lacks as 0 as soon as one item is taken for it.
    of_class = multiclass_accuracy(predicted, labels, num_classes=classes, average="none").numpy()
    return Classification(
        top1=accuracy(1),
        top1_interval=bootstrap_mean(right, seed=seed),
        top5=accuracy(5) if classes > 5 else None,
        mean_class=float(of_class[counts > 0].mean()),
        mean_class_interval=bootstrap_statistic(
            lambda drawn: mean_class_accuracy(right[drawn], labels_N[drawn]), num, seed=seed, resamples=1000
        ),
        confusion_CC=confusion,
        chance_largest=float(counts.max() / num),
        chance_uniform=1 / classes,
        num_test=num,
        right_N=right,
        labels_N=np.asarray(labels_N, dtype=np.int64),
    )


def mean_class_accuracy(right_N: npt.NDArray[np.generic], labels_N: npt.NDArray[np.int64]) -> float:
    """Mean of the accuracies of the classes that are in `labels_N`; `right_N` in 0..1."""
    total = np.bincount(labels_N)
    hits = np.bincount(labels_N, weights=right_N)
    return float((hits[total > 0] / total[total > 0]).mean())


def _check(probabilities_NC: npt.NDArray[np.floating], labels_N: npt.NDArray[np.int64]) -> None:
    if probabilities_NC.ndim != 2 or len(probabilities_NC) == 0 or len(probabilities_NC) != len(labels_N):
        raise DataError(
            f"scores need (N, C) probabilities and N labels, got {probabilities_NC.shape} and {labels_N.shape}"
        )
    if labels_N.min() < 0 or labels_N.max() >= probabilities_NC.shape[1]:
        raise DataError(
            f"labels run from {labels_N.min()} to {labels_N.max()}, but there are {probabilities_NC.shape[1]} classes; "
            "every test item needs the label of a class that was trained"
        )
    if not np.isfinite(probabilities_NC).all():
        raise DataError("some class probabilities are not finite; the training diverged, lower its learning rate")
