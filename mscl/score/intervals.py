"""Bootstrap confidence intervals: how far a number could move with another test set of the same size."""

from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

Interval = tuple[float, float]

_RESAMPLES = 2000
_BLOCK_ELEMENTS = 4_000_000


def bootstrap_mean(
    values_N: npt.NDArray[np.floating] | npt.NDArray[np.bool_],
    *,
    seed: int,
    resamples: int = _RESAMPLES,
    level: float = 0.95,
) -> Interval:
    """Percentile interval of the mean of `values_N`, resampling items with replacement.

    Memory stays flat: resamples are drawn in blocks. The same seed gives the same interval.

    Raises:
        ValueError: no values.
    """
    return bootstrap_mean_of_means([values_N], seed=seed, resamples=resamples, level=level)


def bootstrap_mean_of_means(
    groups: Sequence[npt.NDArray[np.floating] | npt.NDArray[np.bool_]],
    *,
    seed: int,
    resamples: int = _RESAMPLES,
    level: float = 0.95,
) -> Interval:
    """Percentile interval of the mean of the groups' means, the items of each group resampled on their own.

    Raises:
        ValueError: no groups, or one without values.
    """
    draws = np.random.default_rng(seed)
    means = [_resampled_means(np.asarray(values_N, dtype=np.float64), draws, resamples) for values_N in groups]
    if not means:
        raise ValueError("an interval needs at least one group of values, got 0")
    return _percentiles(np.mean(means, axis=0), level)


def _resampled_means(
    values: npt.NDArray[np.float64], draws: np.random.Generator, resamples: int
) -> npt.NDArray[np.float64]:
    if values.size == 0:
        raise ValueError("an interval needs at least one value, got 0")
    block = max(1, _BLOCK_ELEMENTS // values.size)
    means = [
        values[draws.integers(0, values.size, (min(block, resamples - done), values.size))].mean(axis=1)
        for done in range(0, resamples, block)
    ]
    return np.concatenate(means)


def bootstrap_statistic(
    statistic: Callable[..., float],
    *sizes: int,
    seed: int,
    resamples: int = _RESAMPLES,
    level: float = 0.95,
) -> Interval:
    """Percentile interval of `statistic(indices, ...)`: for each size, indices drawn from 0..size-1 anew."""
    if not sizes or not all(sizes):
        raise ValueError(f"an interval needs at least one value, got {sizes}")
    draws = np.random.default_rng(seed)
    drawn = np.array([statistic(*(draws.integers(0, size, size) for size in sizes)) for _ in range(resamples)])
    return _percentiles(drawn, level)


def _percentiles(values: npt.NDArray[np.float64], level: float) -> Interval:
    tail = 50 * (1 - level)
    return cast(Interval, tuple(float(v) for v in np.percentile(values, [tail, 100 - tail])))
