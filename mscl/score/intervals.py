"""Confidence intervals of means: how far a number could move with another test set of the same size.

Videos of one group (cut from one recording, of one person) resemble each other, so they are drawn together: what varies
from test set to test set are the groups. The standard error is that of the groups' sums (cluster-robust, linearised),
its quantile Student's with as many degrees of freedom as groups leave, and the interval is taken on the logit scale,
because shares end at 0 and 1. Percentiles of a bootstrap that draws single videos cover .70 to .85 instead of .95 at a
correlation of .2 to .6 within 25 groups, and with few groups those of one that draws groups are too narrow, too
(tests/mscl/score/test_intervals.py simulates both).
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mscl.array_types import AnyFloats, Ints

Interval = tuple[float, float]
Values = AnyFloats | npt.NDArray[np.bool_]

FEW_VIDEOS = 10
"""Under so many test videos an interval says nothing: three right of three would be 100 (100-100)."""
FEW_GROUPS = 3
"""The same of groups of videos, in any split that is scored."""


def mean_interval(values_N: Values, groups_N: Ints | None = None, *, level: float = 0.95) -> Interval | None:
    """Interval of the mean of values in 0..1; see `mean_of_means_interval`."""
    return mean_of_means_interval([values_N], [groups_N], level=level)


def mean_of_means_interval(
    parts: Sequence[Values], groups: Sequence[Ints | None], *, level: float = 0.95
) -> Interval | None:
    """Interval of the mean of the parts' means; the groups of each part vary on their own.

    Args:
        parts: values in 0..1, (N,) each: one part a split.
        groups: group of each value, any numbers; None: every value is a group of its own.

    Returns:
        None under `FEW_VIDEOS` values, or where a part has under `FEW_GROUPS` groups: nothing can be told from them.
        And where groups do not differ though the mean is neither 0 nor 1: each class is all right or all wrong.

    Raises:
        ValueError: no parts, or one without values.
    """
    means, influences = [], []
    for values_N, own in zip(parts, groups, strict=True):
        values = np.asarray(values_N, dtype=np.float64)
        if not len(values):
            raise ValueError("an interval needs at least one value a part, got 0")
        influences.append(_for_its_centre(num_groups(len(values), own)) * (values - values.mean()) / len(values))
        means.append(float(values.mean()))
    return _interval(float(np.mean(means)) if means else math.nan, influences, groups, level)


def class_mean_interval(
    parts: Sequence[Values], labels: Sequence[Ints], groups: Sequence[Ints | None], *, level: float = 0.95
) -> Interval | None:
    """As `mean_of_means_interval`, of the mean over the parts of the mean over the classes that a part has.

    A class with one group does not tell how far its own mean could move: its distance from that of all classes stands
    for it, as if the class had been drawn, too.
    """
    means, influences, centres = [], [], 0
    for values_N, labels_N, groups_N in zip(parts, labels, groups, strict=True):
        values = np.asarray(values_N, dtype=np.float64)
        count_C = np.bincount(labels_N)
        mean_C = np.bincount(labels_N, weights=values) / np.maximum(count_C, 1)
        classes = int((count_C > 0).sum())
        means.append(mean_C[count_C > 0].mean())
        items_N = np.arange(len(values)) if groups_N is None else groups_N
        groups_C = np.bincount(np.unique(np.stack([labels_N, items_N], axis=1), axis=0)[:, 0], minlength=len(count_C))
        centre_C = np.where(groups_C > 1, mean_C, means[-1])
        widened_C = _for_its_centre(np.where(groups_C > 1, groups_C, num_groups(len(values), groups_N)))
        influences.append(widened_C[labels_N] * (values - centre_C[labels_N]) / (count_C[labels_N] * classes))
        centres += max(1, int((groups_C > 1).sum()))
    return _interval(float(np.mean(means)), influences, groups, level, centres=centres)


def num_groups(count: int, groups_N: Ints | None) -> int:
    """Groups of `count` values."""
    return count if groups_N is None else len(np.unique(groups_N))


def _for_its_centre(groups: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """By how much deviations from the mean of so many groups are to be widened: each took part in that mean."""
    count = np.asarray(groups, dtype=np.float64)
    return np.sqrt(count / np.maximum(count - 1, 1))


def _interval(
    mean: float,
    influences: Sequence[npt.NDArray[np.float64]],
    groups: Sequence[Ints | None],
    level: float,
    *,
    centres: int = 0,
) -> Interval | None:
    """The interval of a mean.

    Args:
        influences: how much each value moves the mean of its part.
        centres: how many means the values' deviations were taken from; 0: one a part.
    """
    from scipy.stats import t

    if not influences:
        raise ValueError("an interval needs at least one part, got 0")
    counts = [num_groups(len(part), own) for part, own in zip(influences, groups, strict=True)]
    if sum(map(len, influences)) < FEW_VIDEOS or min(counts) < FEW_GROUPS:
        return None
    variance = 0.0
    for part_N, groups_N in zip(influences, groups, strict=True):
        sums_G = part_N if groups_N is None else np.bincount(np.unique(groups_N, return_inverse=True)[1], part_N)
        variance += float((sums_G**2).sum()) / len(influences) ** 2
    tail = (1 - level) / 2
    freedom = max(1, sum(counts) - (centres or len(counts)))
    if variance < 1e-18:  # all alike; of all right or all wrong, what so many independent groups still allow
        edge = tail ** (1 / (freedom + 1))
        return (edge, 1.0) if mean > 1 - 1e-9 else (0.0, 1 - edge) if mean < 1e-9 else None
    reach = float(t.ppf(1 - tail, freedom)) * math.sqrt(variance) / (mean * (1 - mean))
    middle = math.log(mean / (1 - mean))
    return _share(middle - reach), _share(middle + reach)


def _share(logit: float) -> float:
    return 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0
