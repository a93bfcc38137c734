"""Scores of a classifier from its probabilities: top-1, top-5, mean class accuracy, confusion."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mscl.errors import DataError
from mscl.score.intervals import Interval, class_mean_interval, mean_interval, num_groups
from mscl.score.scores import Score


@dataclass(frozen=True)
class Classification:
    """Scores on one test set; fractions in 0..1."""

    top1: float
    top1_interval: Interval | None
    top5: float | None
    """Own class among the five most probable, and not of probability 0; None with five classes or fewer, where it says
    nothing."""
    mean_class: float
    """Mean of the accuracies of the classes that the test set has."""
    mean_class_interval: Interval | None
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
    groups_N: npt.NDArray[np.int64] | None = None
    """Items of one group are not independent; None: every item is."""

    @property
    def num_groups(self) -> int:
        """How many groups there are; 0: every item is one."""
        return 0 if self.groups_N is None else num_groups(self.num_test, self.groups_N)

    def scores(self) -> dict[str, Score]:
        """Its numbers beside their chance."""
        size = {"num_videos": self.num_test, "num_groups": self.num_groups}
        scores = {
            "top1": Score(value=self.top1, interval=self.top1_interval, chance=self.chance_largest, **size),
            "mean_class": Score(
                value=self.mean_class, interval=self.mean_class_interval, chance=self.chance_uniform, **size
            ),
        }
        return scores if self.top5 is None else scores | {"top5": Score(value=self.top5, **size)}


def classification(
    probabilities_NC: npt.NDArray[np.floating],
    labels_N: npt.NDArray[np.int64],
    *,
    groups_N: npt.NDArray[np.int64] | None = None,
) -> Classification:
    """Score class probabilities (N, C) against labels (N,) in 0..C-1; items of one group vary together.

    Raises:
        DataError: no items, sizes that do not fit, labels outside the classes, or values that are not finite.
    """
    from sklearn.metrics import confusion_matrix

    _check(probabilities_NC, labels_N)
    num, classes = probabilities_NC.shape
    names = np.arange(classes)
    predicted_N = probabilities_NC.argmax(axis=1)
    right = predicted_N == labels_N
    counts = np.bincount(labels_N, minlength=classes)
    confusion = confusion_matrix(labels_N, predicted_N, labels=names).astype(np.int64)
    return Classification(
        top1=float(right.mean()),
        top1_interval=mean_interval(right, groups_N),
        top5=float(_among_best(probabilities_NC, labels_N, 5).mean()) if classes > 5 else None,
        mean_class=float((confusion.diagonal()[counts > 0] / counts[counts > 0]).mean()),
        mean_class_interval=class_mean_interval([right], [labels_N], [groups_N]),
        confusion_CC=confusion,
        chance_largest=float(counts.max() / num),
        chance_uniform=1 / classes,
        num_test=num,
        right_N=right,
        labels_N=np.asarray(labels_N, dtype=np.int64),
        groups_N=groups_N,
    )


def _among_best(
    probabilities_NC: npt.NDArray[np.floating], labels_N: npt.NDArray[np.int64], k: int
) -> npt.NDArray[np.bool_]:
    """Whether the class of each item is among the k most probable; of equal ones the first count, as for top-1.

    A class of probability 0, which no neighbour voted for or the train split lacks, is not named at all: it does not
    fill up the k.
    """
    best_NK = np.argsort(-probabilities_NC, axis=1, kind="stable")[:, :k]
    own_N = np.take_along_axis(probabilities_NC, labels_N[:, None], axis=1)[:, 0]
    found_N: npt.NDArray[np.bool_] = (best_NK == labels_N[:, None]).any(axis=1) & (own_N > 0)
    return found_N


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
